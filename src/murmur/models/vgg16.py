"""VGG16 of torchvision, for images of at least 32 x 32 pixels.

References
----------
Simonyan & Zisserman (2015), Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR
"""

from typing import Any

from torch import nn
from torchvision.models import VGG16_Weights, vgg16

from murmur.models import Rate
from murmur.models._weights import download_weights, fill_network, load_weights

HEAD = "classifier.6"  # name of the last layer


def build(
    *, classes: int, channels: int, mels: int, frames: int, weights: str = "none", dropout: Rate = 0.5
) -> nn.Module:
    """Build VGG16 with a new last layer.

    Parameters
    ----------
    classes, channels, mels, frames : int
        Number of logits, and shape of an image.
    weights : str
        ``none`` for random weights, ``imagenet`` for those that torchvision downloads when they are first
        needed, or the path of a local file of torchvision. For one channel the first convolution is the mean
        over red, green and blue.
    dropout : float
        Dropout rate after each hidden linear layer.

    Returns
    -------
    nn.Module
        [batch, channels, mels, frames] -> logits [batch, classes].

    Notes
    -----
    The feature maps of images of another size than 224 x 224 are averaged to 7 x 7. On CUDA the gradient of
    this operation is not deterministic: PyTorch raises an error in training.
    """
    network: Any = vgg16(num_classes=classes, dropout=dropout, init_weights=weights == "none")
    if channels != 3:
        network.features[0] = nn.Conv2d(channels, network.features[0].out_channels, 3, padding=1)
    if mels // 32 == frames // 32 == 7:
        network.avgpool = nn.Identity()
    if weights == "imagenet":
        source = "VGG16's ImageNet weights"
        options = {"progress": False, "check_hash": True, "weights_only": True}
        state = download_weights(source, lambda: VGG16_Weights.IMAGENET1K_V1.get_state_dict(**options))
        fill_network(network, dict(state), source, head=HEAD)
    elif weights != "none":
        load_weights(network, weights, head=HEAD)
    return network
