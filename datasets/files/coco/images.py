"""Make the image entries of any COCO file ours: whole ids, one kind of path, sizes in pixels."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

from cxrloc.datasets.files.checked import LARGEST, LONGEST_NAME, LONGEST_SIDE, MAX_FOLDS
from cxrloc.datasets.files.coco.values import Key, id_key, number, shown, some, whole
from cxrloc.datasets.files.keys import patient_key
from cxrloc.datasets.files.parse import naming
from cxrloc.datasets.labels.people import MAXIMUM_AGE_YEARS, SEXES, VIEWS

SizeOf = Callable[[str], tuple[int, int] | None]
SOURCE_ID = "source_id"  # the id in the file that was read, where ours is another
# Roboflow writes a_png.rf.HASH.jpg for a.png, Label Studio HASH-a.png.
_ROBOFLOW = re.compile(r"(.+)_(?:jpe?g|png|bmp|tiff?|webp)\.rf\.[0-9A-Za-z]+", re.IGNORECASE)
_LABEL_STUDIO = re.compile(r"[0-9a-f]{8}-(.+)")


@dataclass(frozen=True)
class Images:
    """Our image entries.

    Attributes:
        entries: in file order.
        number_of: id as written in the file (`id_key`) -> our id.
        notes: what was changed, and who reads the figures should know.
    """

    entries: list[dict[str, Any]] = field(repr=False)
    number_of: Mapping[Key, int] = field(repr=False)
    notes: tuple[str, ...] = ()


def our_images(rows: Sequence[Any], where: str, size_of: SizeOf | None = None) -> Images:
    """Make the list `images` ours.

    Args:
        size_of: file name -> (height, width) where the file lacks them; None if unknown.

    Raises:
        ValueError: starting with `where`, for the first entry that is wrong.
    """
    by_id: dict[Key, dict[str, Any]] = {}
    names: dict[str, Any] = {}
    repeated = 0
    for place, row in enumerate(rows):
        key = _key(row, f"{where}, images: entry {place}")
        if key in by_id and rows[place] == by_id[key]["row"]:
            repeated += 1
            continue
        name = file_name(row, f"{where}, images: entry {place}")
        for kind, value, seen in (("id", key, by_id), ("file_name", name, names)):
            if value in seen:
                raise ValueError(f"{where}, images: {kind} {shown(row[kind])} occurs twice")
        names[name] = key
        by_id[key] = {"row": row, "name": name}
    kept = all(isinstance(key, int) and 0 <= key <= LARGEST for key in by_id)
    number_of = {key: key if kept else place for place, key in enumerate(by_id, start=1)}
    entries = [
        _entry(image["row"], image["name"], key, int(number_of[key]), where, size_of)
        for key, image in by_id.items()
    ]
    notes = [f"image entries that repeat another one, left out: {repeated}"] if repeated else []
    notes += _odd_ages(entries)
    return Images(entries, {key: int(n) for key, n in number_of.items()}, tuple(notes))


def file_name(row: Mapping[str, Any], where: str) -> str:
    """The file name with slashes between folders, whatever the file was written on."""
    value = row.get("file_name")
    if "file_name" not in row:
        raise ValueError(f"{where}: an entry lacks 'file_name': {shown(row)}")
    name = plain_name(value) if isinstance(value, str) else ""
    if not name or not is_text(name):
        raise ValueError(f"{where}: file_name {shown(value)}, expected the name of a file")
    return name


def plain_name(text: str) -> str:
    """A path with single slashes and no ./ before it."""
    name = re.sub(r"[\\/]+", "/", text.strip())
    while name.startswith("./"):
        name = name[2:]
    return name


def is_text(name: str) -> bool:
    """Whether a name can be written to a file: half a surrogate pair and a novel cannot."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return "\0" not in name and len(name) <= LONGEST_NAME


def stems(image: Mapping[str, Any]) -> set[str]:
    """The names without folder and ending by which others may call an image.

    Beside its own: the name before it was exported (Roboflow's `extra.name` or its `_jpg.rf.HASH`,
    Label Studio's hash before the name), and a name with %20 for a blank.
    """
    extra = image.get("extra")
    original = extra.get("name") if isinstance(extra, dict) else None
    names = [str(image["file_name"]), *([original] if isinstance(original, str) else [])]
    found = {PurePosixPath(plain_name(name)).stem for name in names}
    for pattern in (_ROBOFLOW, _LABEL_STUDIO):
        found |= {match[1] for stem in found if (match := pattern.fullmatch(stem))}
    return (found | {unquote(stem) for stem in found}) - {""}


def _key(row: Any, where: str) -> Key:
    if not isinstance(row, dict) or "id" not in row:
        raise ValueError(f"{where}: an entry lacks 'id': {shown(row)}")
    key = id_key(row["id"])
    if key is None:
        raise ValueError(f"{where}: id {shown(row['id'])}, expected a whole number or a text")
    return key


def _entry(
    row: Mapping[str, Any], name: str, key: Key, our_id: int, where: str, size_of: SizeOf | None
) -> dict[str, Any]:
    here = f"{where}: image {shown(row['id'])}"
    width, height = whole(row.get("width")), whole(row.get("height"))
    if size_of is not None and not (width or height):
        height, width = size_of(name) or (None, None)
    if not width or not height or min(width, height) < 1:
        raise ValueError(
            f"{here} has no positive integer width and height ({name!r} has "
            f"{shown(row.get('width'))} and {shown(row.get('height'))}); write there the pixels of "
            "the image that the boxes were drawn on, as PIL.Image.open(file).size gives them, or "
            "give the folder of the images (--images)"
        )
    if max(width, height) > LONGEST_SIDE:
        raise ValueError(
            f"{here} has {width} x {height} pixels, expected at most {LONGEST_SIDE} on a side"
        )
    entry = {**row, "id": our_id, "file_name": name, "width": width, "height": height}
    _check_facts(entry, here)
    return entry if key == our_id else {**entry, SOURCE_ID: row["id"]}


def _check_facts(entry: dict[str, Any], here: str) -> None:
    """Check the keys that COCO does not have and we use."""
    for kind in ("labels", "not_exhaustive_category_ids"):
        if entry.get(kind) is not None and not isinstance(entry[kind], list):
            raise ValueError(f"{here} has {kind} {shown(entry[kind])}, expected a list")
    for name in entry.get("labels") or ():
        if not isinstance(name, str) or not is_text(name):
            raise ValueError(f"{here} has {shown(name)} in labels, expected names of diseases")
    if entry.get("age_years") not in (None, ""):
        entry["age_years"] = _checked(number, entry, "age_years", "a number of years", here)
    elif "age_years" in entry:
        entry["age_years"] = None
    if entry.get("fold") is not None:
        entry["fold"] = _checked(_fold, entry, "fold", "the number of a fold", here)
    for kind in ("patient_id", "view", "sex"):
        value = entry.get(kind)
        if isinstance(value, list | dict) or (isinstance(value, str) and not is_text(value)):
            raise ValueError(f"{here} has {kind} {shown(value)}, expected a text or a number")
    with naming(here):
        patient_key(entry.get("patient_id"))


def _fold(value: Any) -> int | None:
    number = whole(value)
    return number if number is not None and 0 <= number < MAX_FOLDS else None


def odd_values(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sentences that count sexes and views in no usual form; they stay as written."""
    notes = []
    for fact, known in (("sex", SEXES), ("view", VIEWS)):
        values = (e.get(fact) for e in entries)
        odd = [str(value) for value in values if value not in (None, "", *known)]
        if odd:
            examples = some(list(map(shown, dict.fromkeys(odd))))
            notes.append(f"{fact} other than {', '.join(known)}: {len(odd)} images ({examples})")
    return notes


def _odd_ages(entries: Sequence[dict[str, Any]]) -> list[str]:
    """Make absurd ages unknown, and count them."""
    old = [e for e in entries if not 0 <= (e.get("age_years") or 0) <= MAXIMUM_AGE_YEARS]
    if not old:
        return []
    example = f"{old[0]['age_years']} for {old[0]['file_name']!r}"
    for entry in old:
        entry["age_years"] = None
    return [f"ages outside 0 to {MAXIMUM_AGE_YEARS} years, read as unknown: {len(old)} ({example})"]


def _checked(
    read: Callable[[Any], Any], entry: Mapping[str, Any], key: str, expected: str, here: str
) -> Any:
    value = read(entry[key])
    if value is None:
        raise ValueError(f"{here} has {key} {shown(entry[key])}, expected {expected}")
    return value
