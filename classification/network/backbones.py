"""Build networks by name: torchvision's, cut after the map that they pool, and four others.

Every backbone takes (N, 3, H, W), or (N, 1, H, W) after `single_channel`, of at least 32 x 32 px.
It returns (N, C, H/32, W/32), the map whose mean over the cells goes into the head (finer after
`map_stride.refine_map`). Its tensors have torchvision's names, so torchvision's weights fit. The
map, the A of Grad-CAM, is per family

    resnet        the ReLU of the last block
    densenet      the ReLU after norm5
    efficientnet  the SiLU of the last convolution: never below -0.28, but negative in places
    efficientnet_lite0  the ReLU6 of the last convolution
    googlenet     the ReLUs of the four branches of inception5b, concatenated
    vgg           the last max pooling of ReLUs
    convnext      the output sum of the last block: no activation follows, so it has either sign
    simple_cnn    the last max pooling of ReLUs; the same for conv3 and conv4

Grad-CAM does not depend on the sign: its ReLU applies to the weighted sum of the channels.

Some published networks have more than a linear layer after the mean. ConvNeXt's LayerNorm stays, as
the first layer of the head. VGG's three dense layers on 7 x 7 cells (124 of its 138 million
parameters) are replaced by the mean and the common head. The dropout of the EfficientNets and
GoogLeNet before their linear layer and GoogLeNet's two auxiliary heads are left out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from cxrloc.classification.network import efficientnet_lite
from cxrloc.classification.network.imagenet import IMAGENET_MEAN, IMAGENET_STD

STRIDE = 32  # input pixels per cell of the map unless it is refined, and the smallest input
STAGES = 5


@dataclass(frozen=True)
class Family:
    """Networks of one design.

    Attributes:
        backbone: name of a network -> its layers up to the map, with random weights.
        stages: names of the backbone's layers in five stages, the stem first. Every layer with
            tensors is in one of them: together they are the whole backbone.
        head_norm: torchvision's name of a LayerNorm between the mean and the linear layer, or
            empty.
        own_name: name of a tensor in the published file -> its name in the backbone.
        refinable: each of the last two stages halves the map by a convolution, so that `refine_map`
            can undo it.
        even: the strided layers are centred on even pixels, so cell i of a map of stride s sees the
            area around pixel s i.
    """

    backbone: Callable[[str], nn.Module]
    stages: tuple[tuple[str, ...], ...]
    head_norm: str = ""
    own_name: Callable[[str], str] = str
    refinable: bool = False
    even: bool = False

    def __post_init__(self) -> None:
        if len(self.stages) != STAGES:
            raise ValueError(f"{len(self.stages)} stages, expected {STAGES}")


@dataclass(frozen=True)
class Architecture:
    """One network: its family, and the channels C of its map."""

    family: Family
    channels: int


def _resnet(name: str) -> nn.Module:
    return nn.Sequential(_layers(_torchvision(name), without=("avgpool", "fc")))


def _densenet(name: str) -> nn.Module:
    # A separate ReLU, unlike torchvision's in-place one: otherwise code that keeps the output of
    # norm5 would later find it rectified and use the wrong map.
    rectified = {"features": _torchvision(name).features, "relu": nn.ReLU()}
    return nn.Sequential(OrderedDict(rectified))


def _features_alone(name: str) -> nn.Module:
    return nn.Sequential(OrderedDict(features=_torchvision(name).features))


def _googlenet(name: str) -> nn.Module:
    network = _torchvision(name, aux_logits=False, init_weights=True)
    layers = _layers(network, without=("avgpool", "dropout", "fc"))
    return nn.Sequential(OrderedDict(rescale=_Rescale(0.5, 0.5), **layers))


def _efficientnet_lite0(name: str) -> nn.Module:
    rescale = _Rescale(efficientnet_lite.CENTRE, efficientnet_lite.RANGE)
    return _he_normal(nn.Sequential(OrderedDict(rescale=rescale, **efficientnet_lite.layers())))


class _Rescale(nn.Module):
    """Convert ImageNet's normalisation to (x - centre) / span, with x in 0..1.

    GoogLeNet and EfficientNet-Lite0 were trained so.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, centre: float, span: float) -> None:
        super().__init__()
        scale = [s / span for s in IMAGENET_STD]
        shift = [(m - centre) / span for m in IMAGENET_MEAN]
        # not persistent: constants that are missing from the published files
        self.register_buffer("scale", torch.tensor(scale).view(3, 1, 1), persistent=False)
        self.register_buffer("shift", torch.tensor(shift).view(3, 1, 1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale + self.shift


def _vgg16(name: str) -> nn.Module:
    # only the layers: torchvision's vgg16() would also initialise 124 million unused weights
    from torchvision.models.vgg import cfgs, make_layers

    return _he_normal(nn.Sequential(OrderedDict(features=make_layers(cfgs["D"]))))


def _simple_cnn(name: str) -> nn.Module:
    """Five times 3 x 3 convolution - BatchNorm - ReLU - 2 x 2 max pooling; 0.4 million parameters.

    The channels are 16, 32, 64, 128, 256; the field of view doubles in each block, up to a map of
    S / 32 cells like the others'. A baseline of our own design, as large as the small CNNs that
    earlier projects compared with ResNet-50 and DenseNet-121.
    """
    return _blocks(lambda before, channels: [*_convolution(before, channels), nn.MaxPool2d(2)])


def _conv4(name: str) -> nn.Module:
    """Five blocks of two 3 x 3 convolutions, each with BatchNorm and ReLU, and 2 x 2 max pooling.

    The channels are those of the small CNN; 1.2 million parameters. It stands for the "Conv4" of a
    project on MURA (Team 6, X-Ray Machine Learning 2019): five batch-normalised blocks on one
    224 px channel, of unknown widths.
    """
    return _blocks(
        lambda before, channels: [
            *_convolution(before, channels),
            *_convolution(channels, channels),
            nn.MaxPool2d(2),
        ]
    )


def _conv3(name: str) -> nn.Module:
    """The blocks of conv4 without BatchNorm, but with 25 % dropout after each block.

    It stands for "Conv3", the predecessor of that project's network.
    """
    return _blocks(
        lambda before, channels: [
            *(nn.Conv2d(before, channels, 3, padding=1), nn.ReLU(inplace=True)),
            *(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(inplace=True)),
            nn.MaxPool2d(2),
            nn.Dropout(0.25),
        ]
    )


def _convolution(before: int, channels: int) -> list[nn.Module]:
    convolution = nn.Conv2d(before, channels, 3, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


def _blocks(layers: Callable[[int, int], list[nn.Module]]) -> nn.Module:
    """Five blocks of `layers` (input channels, output channels), named block1 to block5."""
    widths = (3, 16, 32, 64, 128, 256)
    blocks = {
        f"block{n}": nn.Sequential(*layers(widths[n - 1], widths[n])) for n in range(1, len(widths))
    }
    return _he_normal(nn.Sequential(OrderedDict(blocks)))


def single_channel(backbone: nn.Module) -> None:
    """Reduce a backbone to one input channel, in place, by summing its first kernels over three.

    Its output for an image equals the former output for the image repeated three times. A network's
    own normalisation uses the mean of its constants over the channels.
    """
    for layer in backbone.modules():
        if isinstance(layer, _Rescale):
            layer.scale, layer.shift = (
                constants.mean(dim=0, keepdim=True) for constants in (layer.scale, layer.shift)
            )
        if isinstance(layer, nn.Conv2d):
            layer.weight = nn.Parameter(layer.weight.detach().sum(dim=1, keepdim=True))
            layer.in_channels = 1
            return


def _torchvision(name: str, **options: Any) -> Any:
    # imported here: torchvision doubles the start-up time of tools that never build a network
    from torchvision.models import get_model

    return get_model(name, weights=None, **options)


def _layers(network: nn.Module, without: tuple[str, ...]) -> OrderedDict[str, nn.Module]:
    return OrderedDict((n, m) for n, m in network.named_children() if n not in without)


def _he_normal(network: nn.Module) -> nn.Module:
    """Initialise as in He et al. 2015, eq. 14, as torchvision does for VGG and ResNet."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network


def _numbered(*stages: tuple[int, ...]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(f"features.{n}" for n in stage) for stage in stages)


# as in ResNet, stages two to five are at 1/4, 1/8, 1/16, 1/32 of the input; only VGG and the small
# CNNs have no stem, and stages at 1, 1/2, ... 1/16
_RESNET = Family(
    _resnet,
    (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",)),
    refinable=True,
    even=True,
)
_DENSENET = Family(
    _densenet,
    (
        ("features.conv0", "features.norm0"),
        ("features.denseblock1", "features.transition1"),
        ("features.denseblock2", "features.transition2"),
        ("features.denseblock3", "features.transition3"),
        ("features.denseblock4", "features.norm5"),
    ),
)
_EFFICIENTNET = Family(
    _features_alone,
    _numbered((0,), (1, 2), (3,), (4, 5), (6, 7, 8)),
    refinable=True,
    even=True,
)
_EFFICIENTNET_LITE = Family(
    _efficientnet_lite0,
    (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4", "conv2", "bn2")),
    own_name=efficientnet_lite.own_name,
    refinable=True,
)
_GOOGLENET = Family(
    _googlenet,
    (
        ("conv1",),
        ("conv2", "conv3"),
        ("inception3a", "inception3b"),
        ("inception4a", "inception4b", "inception4c", "inception4d", "inception4e"),
        ("inception5a", "inception5b"),
    ),
)
_VGG16 = Family(_vgg16, _numbered((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)))
_CONVNEXT = Family(
    _features_alone, _numbered((0,), (1,), (2, 3), (4, 5), (6, 7)), head_norm="classifier.0"
)
_BLOCKS = tuple((f"block{n}",) for n in range(1, 6))

ARCHITECTURES: dict[str, Architecture] = {
    "resnet18": Architecture(_RESNET, 512),
    "resnet34": Architecture(_RESNET, 512),
    "resnet50": Architecture(_RESNET, 2048),
    "densenet121": Architecture(_DENSENET, 1024),
    "densenet161": Architecture(_DENSENET, 2208),
    "densenet169": Architecture(_DENSENET, 1664),
    "efficientnet_b0": Architecture(_EFFICIENTNET, 1280),
    "efficientnet_b4": Architecture(_EFFICIENTNET, 1792),
    "efficientnet_b7": Architecture(_EFFICIENTNET, 2560),
    "efficientnet_lite0": Architecture(_EFFICIENTNET_LITE, efficientnet_lite.MAP_CHANNELS),
    "googlenet": Architecture(_GOOGLENET, 1024),
    "vgg16": Architecture(_VGG16, 512),
    "convnext_tiny": Architecture(_CONVNEXT, 768),
    "simple_cnn": Architecture(Family(_simple_cnn, _BLOCKS), 256),
    "conv3": Architecture(Family(_conv3, _BLOCKS), 256),
    "conv4": Architecture(Family(_conv4, _BLOCKS), 256),
}
