"""The JSON in a file of heat maps (see `heat_maps`)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired

import numpy as np
import numpy.typing as npt
from typing_extensions import TypedDict

from cxrloc.classification.network.content_hash import HASH
from cxrloc.datasets.files.checked import Flag, FoldNumber, Name, Text, checked
from cxrloc.datasets.files.parse import parse_json

KIND, FORMAT = "heat_maps", 1
KEY = "cxrloc"
_AGAIN = "predict again"


class MapMetadata(TypedDict):
    """What it says, beside kind and format."""

    name: Name
    aligned: NotRequired[Flag]
    pairs: list[tuple[Name, Name]]
    folds: NotRequired[dict[Name, FoldNumber] | None]
    removal: NotRequired[Text]
    probabilities: NotRequired[Flag]
    hashed: NotRequired[Flag]


def map_metadata(path: Path, text: str | None) -> MapMetadata:
    """Parse and check the text under `KEY`.

    Raises:
        ValueError: naming the file, and the key that is missing or wrong.
    """
    metadata = parse_json(text or "null", f"{path}: its metadata {KEY!r}")
    kind = metadata.get("kind") if isinstance(metadata, dict) else None
    if kind != KIND:
        raise ValueError(
            f"{path} is not a file of heat maps: expected kind {KIND!r} in the metadata "
            f"{KEY!r}, got {kind!r:.100}"
        )
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{path}: format {metadata.get('format')!r:.100}; this version reads {FORMAT}"
        )
    result: MapMetadata = checked(metadata, MapMetadata, str(path), _AGAIN)
    return result


def maps_sha256(tensors: Mapping[str, npt.NDArray[Any]], text: str) -> str:
    """Hexadecimal SHA-256 of the JSON, and of each tensor's name, type, shape and values."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        digest.update(tensor.reshape(-1).data)
    return digest.hexdigest()


def check_maps(
    path: Path,
    tensors: Mapping[str, npt.NDArray[Any]],
    stated: Mapping[str, str],
    metadata: MapMetadata,
) -> None:
    """Compare the content with its hash, which files of other programs may lack.

    Args:
        stated: the texts beside the tensors.
        metadata: the one under `KEY`, parsed.

    Raises:
        ValueError: naming the file, for another hash, or none where there should be one.
    """
    if HASH not in stated and not metadata.get("hashed"):
        return
    if stated.get(HASH) != maps_sha256(tensors, stated[KEY]):
        raise ValueError(
            f"{path} is damaged or was changed: its content is not that which was written (the "
            f"hash {HASH!r} differs or is missing); {_AGAIN}"
        )
