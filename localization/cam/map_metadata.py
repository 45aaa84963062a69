"""The JSON in a file of heat maps (see `heat_maps`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired

import numpy.typing as npt
from typing_extensions import TypedDict

from cxrloc.classification.network.content_hash import HASH, METADATA, arrays_sha256
from cxrloc.datasets.files.checked import Flag, FoldNumber, Name, Text, checked
from cxrloc.datasets.files.parse import parse_json

KIND, FORMAT = "heat_maps", 1
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
    """Parse and check the text under `METADATA`.

    Raises:
        ValueError: naming the file, and the key that is missing or wrong.
    """
    metadata = parse_json(text or "null", f"{path}: its metadata {METADATA!r}")
    kind = metadata.get("kind") if isinstance(metadata, dict) else None
    if kind != KIND:
        raise ValueError(
            f"{path} is not a file of heat maps: expected kind {KIND!r} in the metadata "
            f"{METADATA!r}, got {kind!r:.100}"
        )
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{path}: format {metadata.get('format')!r:.100}; this version reads {FORMAT}"
        )
    result: MapMetadata = checked(metadata, MapMetadata, str(path), _AGAIN)
    return result


def check_maps(
    path: Path,
    tensors: Mapping[str, npt.NDArray[Any]],
    stated: Mapping[str, str],
    metadata: MapMetadata,
) -> None:
    """Compare the content with its hash, which files of other programs may lack.

    Args:
        stated: the texts beside the tensors.
        metadata: the one under `METADATA`, parsed.

    Raises:
        ValueError: naming the file, for another hash, or none where there should be one.
    """
    if HASH not in stated and not metadata.get("hashed"):
        return
    if stated.get(HASH) != arrays_sha256(tensors, stated[METADATA]):
        raise ValueError(
            f"{path} is damaged or was changed: its content is not that which was written (the "
            f"hash {HASH!r} differs or is missing); {_AGAIN}"
        )
