"""VGG16 (Simonyan & Zisserman 2015), torchvision's, for pictures of at least 32 x 32."""

from typing import Any

from torch import nn
from torchvision.models import VGG16_Weights, vgg16

from murmur.models._weights import fetched, fill, load_weights

HEAD = "classifier.6"


def build(
    *, classes: int, channels: int, mels: int, frames: int, weights: str = "none", dropout: float = 0.5
) -> nn.Module:
    """The network with its last layer new.

    weights: none; imagenet, which torchvision fetches when it is first needed; or a local file of
    torchvision's. For one channel their first convolution is the mean over red, green and blue.
    Pictures of other sizes than 224 are averaged to 7 x 7 at the end, which CUDA cannot do in training and
    give the same bytes: there torch refuses.
    """
    network: Any = vgg16(num_classes=classes, dropout=dropout, init_weights=weights == "none")
    if channels != 3:
        network.features[0] = nn.Conv2d(channels, network.features[0].out_channels, 3, padding=1)
    if mels // 32 == frames // 32 == 7:
        network.avgpool = nn.Identity()
    if weights == "imagenet":
        what = "VGG16's ImageNet weights"
        state = fetched(what, lambda: VGG16_Weights.IMAGENET1K_V1.get_state_dict(progress=False))
        fill(network, dict(state), what, head=HEAD)
    elif weights != "none":
        load_weights(network, weights, head=HEAD)
    return network
