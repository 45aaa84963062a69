"""The entries of a results file: COCO's list, or a whole COCO dict whose annotations have scores.

A dict says which images and categories its ids mean: its entries are matched by file name and
category name, and the sizes of its images must be the ground truth's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxrloc.datasets.files.coco.values import id_key, shown, whole
from cxrloc.datasets.files.parse import read_json
from cxrloc.localization.predictions.coco_names import CocoNames


def read_entries(path: Path, names: CocoNames) -> list[Any]:
    """The entries of a results file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not JSON, or holds no results.
    """
    if not path.is_file():
        raise FileNotFoundError(f"predictions file {path} does not exist")
    return entries_of(read_json(path), names, str(path))


def entries_of(document: Any, names: CocoNames, source: str) -> list[Any]:
    """Like `read_entries`, from parsed JSON."""
    if isinstance(document, dict):
        return _of_dict(document, names, source)
    if not isinstance(document, list):
        raise ValueError(f"{source}: expected a JSON list, got {type(document).__name__}")
    return document


def _of_dict(document: Mapping[str, Any], names: CocoNames, source: str) -> list[Any]:
    entries = document.get("annotations")
    scored = isinstance(entries, list) and any(
        isinstance(e, dict) and "score" in e for e in entries
    )
    if not isinstance(entries, list) or not scored:
        keys = ", ".join(list(document)[:5])
        raise ValueError(
            f"{source}: expected a COCO results LIST of {{image_id, category_id, bbox, score}}, "
            f"got a dict with keys {keys}, and no `score` in its annotations. Is it a ground-truth "
            "file?"
        )
    images, categories = _by_id(document.get("images")), _by_id(document.get("categories"))
    checked: set[Any] = set()
    return [
        _named(entry, images, categories, names, f"{source}: entry {place}", checked)
        for place, entry in enumerate(entries)
    ]


def _by_id(rows: Any) -> dict[Any, Mapping[str, Any]]:
    listed = rows if isinstance(rows, list) else []
    keyed = ((id_key(row.get("id")), row) for row in listed if isinstance(row, dict))
    return {key: row for key, row in keyed if key is not None}


def _named(
    entry: Any,
    images: Mapping[Any, Mapping[str, Any]],
    categories: Mapping[Any, Mapping[str, Any]],
    names: CocoNames,
    where: str,
    checked: set[Any],
) -> Any:
    """An entry with the names that its file gives its ids."""
    if not isinstance(entry, dict):
        return entry
    key, category = id_key(entry.get("image_id")), id_key(entry.get("category_id"))
    own = dict(entry)
    if key in images and isinstance(images[key].get("file_name"), str):
        own["image_id"] = images[key]["file_name"]
        if key not in checked:
            _check_size(images[key], names, where)
            checked.add(key)
    if category in categories and isinstance(categories[category].get("name"), str):
        del own["category_id"]
        own["category"] = categories[category]["name"]
    return own


def _check_size(row: Mapping[str, Any], names: CocoNames, where: str) -> None:
    """Raise ValueError if the boxes of an image were made in another frame."""
    ours = names.image(row["file_name"], where)
    theirs = whole(row.get("width")), whole(row.get("height"))
    if None not in theirs and theirs != (int(ours["width"]), int(ours["height"])):
        raise ValueError(
            f"{where}: its file says that {shown(row['file_name'])} has {theirs[0]} x {theirs[1]} "
            f"pixels, the ground truth {ours['width']} x {ours['height']}; scale the boxes to the "
            "ground truth's pixels, and its image sizes with them"
        )
