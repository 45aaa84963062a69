"""Make the cells of a network's map finer: its last stages keep their stride, and are dilated.

The convolution that halves the map no longer does so, and those after it look twice as far. So each
cell still sees what it saw, every second cell of the finer map (in each direction) is a cell of the
coarse one, and the weights fit unchanged (Yu et al. 2017, Dilated Residual Networks, without their
further changes). Squeeze-and-excitation averages over more cells, so in EfficientNet-B0 to B7 cells
are only nearly the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from cxrloc.classification.network.efficientnet_lite import SamePadding


def refine_map(backbone: nn.Module, halving_stages: Sequence[Sequence[str]]) -> None:
    """Undo the halving of the last stages, in place.

    Args:
        backbone: its convolutions have odd kernels, padded so that a stride of 1 keeps the size.
        halving_stages: names of the layers of each stage, in order. The first convolution of stride
            2 within a stage halves the map; others of stride 2 are on a shortcut.
    """
    dilation = 1
    for stage in halving_stages:
        dilation = _refine_stage(backbone, stage, dilation)


def _refine_stage(backbone: nn.Module, stage: Sequence[str], dilation: int) -> int:
    """Return the dilation for what follows; `dilation` is that of the stage's input."""
    after = 2 * dilation
    for layer in stage:
        for name, module in list(backbone.get_submodule(layer).named_modules(prefix=layer)):
            if isinstance(module, SamePadding):
                backbone.set_submodule(name, nn.Identity())
            if isinstance(module, nn.Conv2d):
                halves = module.stride == (2, 2)
                _dilate(module, dilation)
                dilation = after if halves else dilation
    assert dilation == after, f"no convolution of stride 2 in {stage}"
    return dilation


def _dilate(convolution: nn.Conv2d, dilation: int) -> None:
    kernel = convolution.kernel_size[0]
    convolution.stride = (1, 1)
    if kernel > 1:
        convolution.dilation = (dilation, dilation)
        convolution.padding = (dilation * (kernel // 2),) * 2
