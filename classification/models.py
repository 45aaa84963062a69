"""The chest classifier: a ResNet whose last feature map is kept, and its bundle on disk."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cxrloc.classification.bundle import read_bundle, write_bundle
from cxrloc.classification.weights import LoadReport, download_imagenet, load_partial, read_weights
from cxrloc.datasets.radiograph import Film
from cxrloc.datasets.transforms import fit_square

# architecture -> channels of its last feature map
ARCHITECTURES: dict[str, int] = {"resnet18": 512, "resnet34": 512, "resnet50": 2048}
HEADS = ("linear", "two_layer")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MIN_SIZE, MAX_SIZE = 64, 1024


class ClassifierOutput(NamedTuple):
    """logits (N, D), and features (N, C, h, w): the post-ReLU tensor that is pooled."""

    logits: torch.Tensor
    features: torch.Tensor


class ChestClassifier(nn.Module):
    """Backbone - mean over the map - head. One pass gives the logits and the map that CAMs need.

    Attributes:
        backbone: (N, 3, S, S) -> (N, C, S/32, S/32), with torchvision's tensor names.
        head: (N, C) -> (N, D); `nn.Linear` or `Linear - ReLU - Linear` (Deep MedIA).
    """

    def __init__(self, architecture: str, num_diseases: int, head: str, hidden: int = 256) -> None:
        super().__init__()
        channels = ARCHITECTURES[architecture]
        self.architecture = architecture
        self.head_kind = head
        self.hidden = hidden
        self.backbone = _resnet_features(architecture)
        self.head: nn.Module = nn.Linear(channels, num_diseases)
        if head == "two_layer":
            self.head = nn.Sequential(
                nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, num_diseases)
            )

    def forward(self, x: torch.Tensor) -> ClassifierOutput:
        features = self.backbone(x)
        # the head stays in float32 under autocast: it costs nothing, and bfloat16 logits have ties
        with torch.autocast(features.device.type, enabled=False):
            pooled = features.float().mean(dim=(2, 3))
            return ClassifierOutput(self.head(pooled), features)


def build_classifier(
    architecture: str,
    num_diseases: int,
    head: str = "linear",
    weights: str | Path = "none",
    *,
    hidden: int = 256,
    seed: int = 0,
) -> tuple[ChestClassifier, LoadReport]:
    """A classifier and the list of the start weights that it got.

    Args:
        architecture: a key of `ARCHITECTURES`.
        num_diseases: number of logits.
        head: a member of `HEADS`.
        weights: "none", "imagenet" (torchvision's, by name) or a path to a `.safetensors` or `.pth`
            file, which may hold a part of the tensors; a bundle of this project works, its head is
            taken when it fits.
        hidden: width of the two-layer head.
        seed: random start of what is not loaded.

    Raises:
        ValueError, FileNotFoundError: for an unknown name, or weights that are not to be had.
    """
    _check_name("architecture", architecture, tuple(ARCHITECTURES))
    _check_name("head", head, HEADS)
    if num_diseases < 1:
        raise ValueError(f"num_diseases {num_diseases}, expected at least 1")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ChestClassifier(architecture, num_diseases, head, hidden)
    if str(weights) == "none":
        return model, LoadReport()
    if str(weights) == "imagenet":
        tensors, source = download_imagenet(architecture), f"imagenet ({architecture})"
    else:
        tensors, source = read_weights(Path(weights)), str(weights)
    return model, _load(model, tensors, source)


@dataclass(frozen=True)
class Preprocessing:
    """Grey uint8 squares -> network input: / 255, replicated to three channels, normalised.

    Attributes:
        size: side S of the square network input, pixels.
        mean, std: per channel, of values in 0..1.
    """

    size: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if not MIN_SIZE <= self.size <= MAX_SIZE or self.size % 32:
            raise ValueError(
                f"input size {self.size}, expected a multiple of 32 from {MIN_SIZE} to {MAX_SIZE}"
            )

    def to_tensor(self, squares: npt.NDArray[np.uint8] | torch.Tensor) -> torch.Tensor:
        """(N, S, S) uint8, or float in 0..255, to (N, 3, S, S) float32, channels last in memory."""
        grey = torch.as_tensor(squares)
        if grey.ndim != 3 or tuple(grey.shape[1:]) != (self.size, self.size):
            raise ValueError(
                f"expected squares of shape (N, {self.size}, {self.size}), got {tuple(grey.shape)}"
            )
        return self.normalise(grey.float())

    def normalise(self, grey: torch.Tensor) -> torch.Tensor:
        """(N, S, S) float in 0..255, of any side S, to (N, 3, S, S), channels last in memory."""
        scale = [1 / (255 * s) for s in self.std]
        shift = [-m / s for m, s in zip(self.mean, self.std, strict=True)]
        # (N, S, S, 3) viewed as (N, 3, S, S): channels last without a copy
        x = grey.unsqueeze(-1) * grey.new_tensor(scale) + grey.new_tensor(shift)
        return x.permute(0, 3, 1, 2)

    def squares(self, films: Sequence[Film]) -> npt.NDArray[np.uint8]:
        """(N, S, S) uint8: films fitted into the square, aspect kept, top left, zeros beyond."""
        if not films:
            return np.zeros((0, self.size, self.size), np.uint8)
        return np.stack([fit_square(film.pixels, self.size) for film in films])

    def from_films(self, films: Sequence[Film]) -> torch.Tensor:
        """Network input (N, 3, S, S) of films."""
        return self.to_tensor(self.squares(films))


@dataclass(frozen=True)
class ClassifierBundle:
    """A trained classifier with all that using it needs.

    Attributes:
        model: in evaluation mode.
        diseases: names of the logits, in order.
        thresholds: operating threshold per disease; None where validation data could not give one.
        mean_box_sizes: disease -> (width, height) of its mean training box as fractions of the
            frame's long side; only diseases with boxes.
        manifest: of the run that trained it.
        metadata: everything else that the file holds (`fold`, `k`, `train_ids_sha256`, ...).
    """

    model: ChestClassifier
    diseases: tuple[str, ...]
    thresholds: Mapping[str, float | None]
    preprocessing: Preprocessing
    mean_box_sizes: Mapping[str, tuple[float, float]]
    manifest: Mapping[str, Any]
    metadata: Mapping[str, Any]

    def __post_init__(self) -> None:
        if set(self.thresholds) != set(self.diseases):
            raise ValueError(
                f"thresholds for {sorted(self.thresholds)}, expected exactly {list(self.diseases)}"
            )


def save_classifier(path: Path, bundle: ClassifierBundle) -> None:
    """Write the bundle as one `.safetensors` file (atomic)."""
    model = bundle.model
    write_bundle(
        path,
        model.state_dict(),
        {
            **bundle.metadata,
            "kind": "classifier",
            "architecture": model.architecture,
            "head": model.head_kind,
            "hidden": model.hidden,
            "diseases": list(bundle.diseases),
            "thresholds": dict(bundle.thresholds),
            "preprocessing": asdict(bundle.preprocessing),
            "mean_box_sizes": {d: list(wh) for d, wh in bundle.mean_box_sizes.items()},
            "manifest": dict(bundle.manifest),
        },
    )


def load_classifier(path: Path) -> ClassifierBundle:
    """Read a bundle back; the model is in evaluation mode on the CPU.

    Raises:
        FileNotFoundError, ValueError: see `read_bundle`; also when tensors do not fit the metadata.
    """
    tensors, meta = read_bundle(path, "classifier")
    model = ChestClassifier(
        meta["architecture"], len(meta["diseases"]), meta["head"], int(meta["hidden"])
    )
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{path}: tensors do not fit the stored architecture: {error}") from error
    prep = meta["preprocessing"]
    return ClassifierBundle(
        model=model.eval(),
        diseases=tuple(meta["diseases"]),
        thresholds=meta["thresholds"],
        preprocessing=Preprocessing(prep["size"], tuple(prep["mean"]), tuple(prep["std"])),
        mean_box_sizes={d: (wh[0], wh[1]) for d, wh in meta["mean_box_sizes"].items()},
        manifest=meta["manifest"],
        metadata=meta,
    )


def _resnet_features(architecture: str) -> nn.Sequential:
    # imported here: torchvision doubles the start-up time of tools that never build a network
    from torchvision.models import get_model

    network = get_model(architecture, weights=None)
    layers = ((n, m) for n, m in network.named_children() if n not in ("avgpool", "fc"))
    return nn.Sequential(OrderedDict(layers))


def _load(model: ChestClassifier, tensors: dict[str, torch.Tensor], source: str) -> LoadReport:
    # torchvision's names have no "backbone."; a head of our own bundle keeps its "head."
    named = {n if n.startswith("head.") else f"backbone.{n}": t for n, t in tensors.items()}
    return load_partial(model, named, source)


def _check_name(what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise ValueError(f"unknown {what} {name!r}; known are {', '.join(known)}")
