"""Define the allowed settings of a classifier training, without torch, like `config`."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from cxrloc.configs.checks import Expected, require

Input = Literal["grey", "single", "enhanced"]
Architecture = Literal[
    "resnet18",
    "resnet34",
    "resnet50",
    "densenet121",
    "densenet161",
    "densenet169",
    "efficientnet_b0",
    "efficientnet_b4",
    "efficientnet_b7",
    "efficientnet_lite0",
    "googlenet",
    "vgg16",
    "convnext_tiny",
    "simple_cnn",
    "conv3",
    "conv4",
]  # the keys of backbones.ARCHITECTURES, which needs torch
MapStride = Literal[32, 16, 8]
REFINABLE: tuple[Architecture, ...] = (
    "resnet18",
    "resnet34",
    "resnet50",
    "efficientnet_b0",
    "efficientnet_b4",
    "efficientnet_b7",
    "efficientnet_lite0",
)  # those whose family in backbones.py is refinable
Loss = Literal["auto", "bce", "bce_weighted", "bce_two_sided", "chexnet", "focal", "hamming"]
Monitor = Literal["val_loss", "val_auc"]
Demographic = Literal["age", "sex", "view"]
Standardise = Literal["imagenet", "image"]
Split = Literal["folds", "official", "sampled", "label_sets", "iterative"]
Uncertain = Literal["ignore", "ones", "zeros", "smoothed_ones", "smoothed_zeros", "three_class"]
Blank = Literal["unknown", "negative"]
Optimizer = Literal["adamw", "adam", "sgd"]
Schedule = Literal[
    "one_cycle",
    "cosine",
    "constant",
    "step",
    "exponential",
    "reduce_on_plateau",
    "triangular",
    "triangular2",
]
Sampler = Literal["uniform", "inverse_frequency", "capped"]
FoldChoice = Annotated[
    int | Literal["all"],
    Expected(lambda v: v == "all" or v >= 0, "a fold number from 0, or all"),
]
Diseases = Annotated[
    tuple[str, ...], Expected(lambda v: len(set(v)) == len(v), "each disease once")
]
Demographics = Annotated[
    tuple[Demographic, ...],
    Expected(
        lambda v: set(v) <= set(get_args(Demographic)) and len(set(v)) == len(v),
        "each of age, sex, view once",
    ),
]
Size = Annotated[
    int, Expected(lambda v: 64 <= v <= 1024 and v % 32 == 0, "a multiple of 32 from 64 to 1024")
]
Weights = Annotated[str, Expected(bool, "none, imagenet or a path")]
ClaheClip = Annotated[float, Expected(lambda v: v >= 0, "0 (off) or more")]
FrozenStages = Annotated[int, Expected(lambda v: 0 <= v <= 5, "0 to 5")]


def check_map_stride(architecture: Architecture, map_stride: int) -> None:
    """Raise ValueError unless the network's map can have cells of this many pixels."""
    fits = map_stride == 32 or architecture in REFINABLE
    expected = f"32 with model.architecture {architecture}; {', '.join(REFINABLE)} can have 16 or 8"
    require(fits, "model.map_stride", map_stride, expected)
