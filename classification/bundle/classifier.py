"""Read and write a classifier bundle: weights, diseases, thresholds, preprocessing, manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cxrloc.classification.bundle.file import (
    is_bundle,
    read_bundle,
    read_metadata,
    rebuilding,
    write_bundle,
)
from cxrloc.classification.bundle.metadata import BOX_SUPERVISION, check_thresholds
from cxrloc.classification.bundle.preprocessing import Preprocessing, restored, stored
from cxrloc.classification.network.backbones import ARCHITECTURES
from cxrloc.classification.network.classifier import (
    HEADS,
    MAP_STRIDES,
    ChestClassifier,
    check_name,
)
from cxrloc.datasets.files.parse import naming, one_line

if TYPE_CHECKING:
    from cxrloc.classification.network.int8 import Int8Backbone


@dataclass(frozen=True)
class ClassifierBundle:
    """A trained classifier with everything needed to use it.

    Attributes:
        model: in evaluation mode.
        diseases: names of the logits, in order.
        thresholds: operating threshold per disease; None if validation data could not provide one.
        mean_box_sizes: disease -> (width, height) of its mean training box as fractions of the
            frame's long side; only for diseases with boxes.
        manifest: manifest of the training run.
        metadata: everything else in the file (`fold`, `k`, `train_ids_sha256`, ...).
        examination_thresholds: operating threshold per disease for an examination's mean
            probability, chosen on validation data; empty without multi-image examinations.
        int8: INT8 weights from the file next to this one, for the runtime that needs them.
    """

    model: ChestClassifier
    diseases: tuple[str, ...]
    thresholds: Mapping[str, float | None]
    preprocessing: Preprocessing
    mean_box_sizes: Mapping[str, tuple[float, float]]
    manifest: Mapping[str, Any]
    metadata: Mapping[str, Any]
    examination_thresholds: Mapping[str, float | None] = field(default_factory=dict)
    int8: Int8Backbone | None = None

    @property
    def trained_with_boxes(self) -> bool:
        """Whether boxes taught the network, or the weights it started from, where diseases are."""
        return bool(self.metadata.get(BOX_SUPERVISION))

    def __post_init__(self) -> None:
        check_thresholds(self.diseases, self.thresholds, self.examination_thresholds)


def save_classifier(path: Path, bundle: ClassifierBundle) -> None:
    """Write the bundle as one `.safetensors` file (atomic)."""
    model = bundle.model
    preprocessing, tensors = stored(bundle.preprocessing)
    write_bundle(
        path,
        {**model.state_dict(), **tensors},
        {
            **bundle.metadata,
            "kind": "classifier",
            "architecture": model.architecture,
            "head": model.head_kind,
            "demographics": list(model.demographics),
            "map_stride": model.map_stride,
            **({"lse_r": model.lse_r} if model.lse_r else {}),
            "diseases": list(bundle.diseases),
            "thresholds": dict(bundle.thresholds),
            "study_thresholds": dict(bundle.examination_thresholds),
            "preprocessing": preprocessing,
            "mean_box_sizes": {d: list(wh) for d, wh in bundle.mean_box_sizes.items()},
            "manifest": dict(bundle.manifest),
        },
    )


def load_classifier(path: Path) -> ClassifierBundle:
    """Read a bundle back; the model is in evaluation mode on the CPU.

    Raises:
        FileNotFoundError, ValueError: see `read_bundle`; also if settings or tensors are not
            those of this version.
    """
    tensors, meta = read_bundle(path, "classifier")
    with naming(str(path)), rebuilding(path, "train-gate", KeyError, TypeError, AttributeError):
        return _rebuilt(path, tensors, meta)


def _rebuilt(
    path: Path, tensors: dict[str, torch.Tensor], meta: dict[str, Any]
) -> ClassifierBundle:
    check_name(f"architecture in {path}", meta["architecture"], tuple(ARCHITECTURES))
    check_name(f"head in {path}", meta["head"], HEADS)
    check_name(f"map stride in {path}", str(meta["map_stride"]), [str(s) for s in MAP_STRIDES])
    preprocessing = restored(meta["preprocessing"], tensors)
    model = ChestClassifier(
        meta["architecture"],
        len(meta["diseases"]),
        meta["head"],
        preprocessing.channels,
        tuple(meta["demographics"]),
        meta["map_stride"],
        meta.get("lse_r", 0.0),
    )
    if meta.get(BOX_SUPERVISION) and "cell_prior" in tensors:
        model.guide(torch.zeros_like(tensors["cell_prior"]))
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        fault = one_line(error)
        raise ValueError(f"{path}: tensors do not fit the stored architecture: {fault}") from error
    return ClassifierBundle(
        model=model.eval(),
        diseases=tuple(meta["diseases"]),
        thresholds=meta["thresholds"],
        preprocessing=preprocessing,
        mean_box_sizes={d: (wh[0], wh[1]) for d, wh in meta["mean_box_sizes"].items()},
        manifest=meta["manifest"],
        metadata=meta,
        examination_thresholds=meta["study_thresholds"],
    )


def inherited_supervision(weights: Path) -> dict[str, Any] | None:
    """What boxes taught the network of a bundle; None for nothing, and for a file of plain weights.

    A Mask R-CNN always learns from boxes.
    """
    if weights.suffix != ".safetensors" or not weights.is_file() or not is_bundle(weights):
        return None
    metadata = read_metadata(weights)
    if metadata["kind"] == "classifier" and not metadata.get(BOX_SUPERVISION):
        return None
    return {"initial_weights": str(weights)}


def fingerprint(tensors: Mapping[str, torch.Tensor], more: str = "") -> str:
    """Fingerprint of tensors and the text `more`, as 16 hexadecimal digits."""
    digest = hashlib.sha256(more.encode())
    for name, tensor in tensors.items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()[:16]
