"""The JSON in a file of heat maps (see `heat_maps`)."""

from __future__ import annotations

from pathlib import Path
from typing import NotRequired

from typing_extensions import TypedDict

from cxrloc.datasets.files.checked import Flag, FoldNumber, Name, Text, checked
from cxrloc.datasets.files.parse import parse_json

KIND, FORMAT = "heat_maps", 1
KEY = "cxrloc"


class MapMetadata(TypedDict):
    """What it says, beside kind and format."""

    name: Name
    aligned: NotRequired[Flag]
    pairs: list[tuple[Name, Name]]
    folds: NotRequired[dict[Name, FoldNumber] | None]
    removal: NotRequired[Text]
    probabilities: NotRequired[Flag]


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
    result: MapMetadata = checked(metadata, MapMetadata, str(path), "predict again")
    return result
