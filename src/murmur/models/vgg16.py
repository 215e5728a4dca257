"""VGG16 (Simonyan & Zisserman 2015), torchvision's, for pictures of at least 32 x 32."""

from typing import Any

from timm.models import adapt_input_conv
from torch import nn
from torchvision.models import VGG, VGG16_Weights, vgg16

from murmur.models import fetched, load_weights

HEAD = "classifier.6"


def build(
    *, classes: int, channels: int, mels: int, frames: int, weights: str = "none", dropout: float = 0.5
) -> nn.Module:
    """The network with its last layer new.

    weights: none; imagenet, which torchvision fetches when it is first needed; or a local file, of ours or
    of torchvision's. With other than three channels the first convolution is summed over colours.
    """
    known = weights != "none"
    network = vgg16(num_classes=classes, dropout=dropout, init_weights=not known)
    if weights == "imagenet":
        state = fetched(
            "VGG16's ImageNet weights", lambda: VGG16_Weights.IMAGENET1K_V1.get_state_dict(progress=False)
        )
        own = network.state_dict()
        network.load_state_dict(own | {k: v for k, v in state.items() if not k.startswith(HEAD)})
    elif known:
        load_weights(network, weights, head=HEAD)
    if channels != 3:
        _take(network, channels)
    return network


def _take(network: VGG, channels: int) -> None:
    """Let the first convolution take another number of channels."""
    first: Any = network.features[0]
    new = nn.Conv2d(channels, first.out_channels, 3, padding=1)
    new.load_state_dict({"weight": adapt_input_conv(channels, first.weight.data), "bias": first.bias.data})
    network.features[0] = new
