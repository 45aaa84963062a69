"""The kinds and ranges of what a bundle's metadata may say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from cxrloc.datasets.files.checked import (
    AtLeastOne,
    Finite,
    FoldNumber,
    Name,
    Part,
    Positive,
    Share,
    Text,
    checked,
)
from cxrloc.datasets.files.parse import parse_json

BOX_SUPERVISION = "box_supervision"  # key of what boxes taught the network, null for nothing


def _each_once(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise PydanticCustomError("each_once", "every name once")
    return names


_Names = Annotated[list[Name], Field(min_length=1), AfterValidator(_each_once)]
_Width = Annotated[int, Field(strict=True, ge=1, le=65_536)]  # of a layer
_Side = Annotated[int, Field(strict=True, ge=1, le=8_192)]  # of an input, in pixels
_Deviation = Annotated[float, Field(strict=True, ge=1e-4, le=1)]  # of values in 0..1
_Level = Annotated[int, Field(strict=True, ge=0, le=255)]


class _Data(TypedDict, total=False):
    prepared: Any


class _Config(TypedDict, total=False):
    data: _Data


class _Manifest(TypedDict, total=False):
    config: _Config
    hashes: dict[str, Text]


class _Common(TypedDict, total=False):
    kind: Name
    diseases: _Names
    fold: FoldNumber | None
    k: AtLeastOne | None
    manifest: _Manifest
    fingerprint: Text


class _Preprocessing(TypedDict):
    size: _Side
    mean: tuple[Share, Share, Share]
    std: tuple[_Deviation, _Deviation, _Deviation]
    clahe_clip: Annotated[float, Field(strict=True, ge=0, le=1000)]
    input: Name
    markers: Name


class _Classifier(_Common, total=False):
    architecture: Name
    head: Name
    demographics: list[Name]
    map_stride: Annotated[int, Field(strict=True, ge=8, le=32)]
    lse_r: Annotated[float, Field(strict=True, ge=0, le=1e6)]
    box_supervision: dict[Name, Any] | None
    thresholds: dict[Name, Share | None]
    study_thresholds: dict[Name, Share | None]
    preprocessing: _Preprocessing
    mean_box_sizes: dict[Name, tuple[Part, Part]]


class _Detector(TypedDict, total=False):
    architecture: Name
    weights: Text
    gate: Text | None
    norm: Name
    frozen_stages: Annotated[int, Field(strict=True, ge=0, le=5)]
    fpn_levels: list[Annotated[int, Field(strict=True, ge=2, le=5)]]
    fpn_channels: _Width
    anchor_sizes: list[Part]
    box_hidden: _Width
    mask_channels: _Width
    mask_layers: Annotated[int, Field(strict=True, ge=1, le=100)]
    vote_threshold: Share


class _MaskRCNN(_Common, total=False):
    backend: Name
    size: _Side
    model: _Detector
    precision: Name
    prepared: Text
    sources: dict[str, Text]


class _Input(TypedDict):
    step: Positive
    zero: _Level


class _Grey(TypedDict):
    layer: Name
    scale: list[Finite]
    shift: list[Finite]


class _Int8(_Common, total=False):
    inputs: dict[Name, _Input]
    grey: _Grey | None
    left: list[Name]


class _Stage(TypedDict):
    kind: Literal["stage"]
    history: NotRequired[Any]


# kind -> what its metadata may say; a missing key is for the loader, which needs it or not
KINDS: dict[str, Any] = {
    "classifier": _Classifier,
    "maskrcnn": _MaskRCNN,
    "int8": _Int8,
    "stage": _Stage,
}

AGAIN = {
    "classifier": "train it again with cxrloc train-gate",
    "maskrcnn": "train it again with cxrloc train-maskrcnn",
    "int8": "make it again with cxrloc quantize",
    "stage": "delete it, and run the same command again",
}


def checked_metadata(text: str, path: Path, kind: str | None = None) -> dict[str, Any]:
    """The metadata of a file, from the JSON in it.

    Args:
        kind: kind that the caller can use; None accepts any kind.

    Raises:
        ValueError: for what no version of ours writes, and for another kind.
    """
    metadata: dict[str, Any] = parse_json(text, f"{path}: its metadata")
    check_kind(metadata.get("kind") if isinstance(metadata, dict) else None, path)
    checked(metadata, KINDS[metadata["kind"]], f"{path}: its metadata", AGAIN[metadata["kind"]])
    if kind is not None and metadata["kind"] != kind:
        raise ValueError(f"{path} is a {metadata['kind']} bundle, expected a {kind} bundle")
    return metadata


def check_thresholds(
    diseases: Sequence[str],
    thresholds: Mapping[str, float | None],
    examination_thresholds: Mapping[str, float | None],
) -> None:
    """Raise ValueError unless each disease, and nothing else, has its thresholds.

    Those of examinations may be absent.
    """
    chosen = {"thresholds": thresholds}
    if examination_thresholds:
        chosen["study thresholds"] = examination_thresholds
    for name, of_disease in chosen.items():
        if set(of_disease) != set(diseases):
            expected = f"expected exactly {list(diseases)}"
            raise ValueError(f"{name} for {sorted(of_disease)}, {expected}")


def check_kind(kind: object, path: Path) -> None:
    """Raise ValueError unless it is the kind of a file of ours."""
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"{path}: bundle kind {kind!r:.100}, expected one of {', '.join(KINDS)}")
