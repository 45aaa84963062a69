"""Make the categories of any COCO file ours: whole ids, one category for each disease.

A parent of other categories and the class `background` are left out if nothing is annotated as
them (Roboflow writes its project's name as category 0). A label map renames and merges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from cxrloc.datasets.files.checked import LARGEST
from cxrloc.datasets.files.coco.images import is_text
from cxrloc.datasets.files.coco.values import Key, id_key, shown, some
from cxrloc.datasets.labels.map import LabelMap, name_key
from cxrloc.datasets.labels.names import ALIASES

SOURCES = "sources"  # [id, name] of the categories in the file, where ours is another
SYNONYMS = "synonyms"  # other names that the label map has for a disease
_BACKGROUND = frozenset({"background", "bg"})
_ALIASES = {name_key(alias): name_key(name) for alias, name in ALIASES.items()}


@dataclass(frozen=True)
class Categories:
    """Our categories.

    Attributes:
        entries: one per disease, in file order.
        number_of: id as written in the file (`id_key`) -> our id; None: left out.
        left_out: [id, name] of the categories that are left out, as written.
        notes: what was changed, and who reads the figures should know.
    """

    entries: list[dict[str, Any]] = field(repr=False)
    number_of: Mapping[Key, int | None] = field(repr=False)
    left_out: list[list[Any]] = field(repr=False, default_factory=list)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Named:
    """A category as the file has it, and the disease that it becomes."""

    row: Mapping[str, Any]
    key: Key
    name: str
    disease: str | None = None


def synonym_key(name: str) -> str:
    """The same for all spellings of a name and for synonyms (Infiltrate, Infiltration)."""
    key = name_key(name)
    return _ALIASES.get(key, key)


def our_categories(
    rows: Sequence[Any], used: Set[Key | None], labels: LabelMap | None, where: str
) -> Categories:
    """Make the list `categories` ours.

    Args:
        used: the categories that annotations name (`id_key`).

    Raises:
        ValueError: starting with `where`, for the first entry that is wrong, or if two categories
            name one disease and no label map says so.
    """
    read = [_read(row, f"{where}, categories: entry {place}") for place, row in enumerate(rows)]
    named = list({(category.key, category.name): category for category in read}.values())
    _check_ids(named, where)
    parents = _parents(named, used)
    kept = [category for category in named if category.key not in parents]
    if labels is None:
        _check_names(kept, where)
    named = [_mapped(c, parents, used, labels, where) for c in named]
    by_disease: dict[str, list[_Named]] = {}
    for category in named:
        if category.disease is not None:
            by_disease.setdefault(category.disease, []).append(category)
    number_of = _numbers(by_disease)
    left_out = [[c.row["id"], c.name] for c in named if c.disease is None]
    mapped = {} if labels is None else labels.disease_of
    left_out += [[None, name] for name, disease in mapped.items() if disease is None]
    entries = [_entry(d, number_of[d], members) for d, members in by_disease.items()]
    for entry in entries:
        if labels is not None:
            entry[SYNONYMS] = [name for name, d in mapped.items() if d == entry["name"]]
    return Categories(
        entries,
        {c.key: None if c.disease is None else number_of[c.disease] for c in named},
        left_out,
        _notes(named, used, labels),
    )


def _read(row: Any, where: str) -> _Named:
    for key in ("id", "name"):
        if not isinstance(row, dict) or key not in row:
            raise ValueError(f"{where}: an entry lacks {key!r}: {shown(row)}")
    key_of_row, name = id_key(row["id"]), row["name"]
    if key_of_row is None:
        raise ValueError(f"{where}: id {shown(row['id'])}, expected a whole number or a text")
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    if not isinstance(name, str) or not name.strip() or not is_text(name):
        raise ValueError(f"{where}: name {shown(name)}, expected the name of a disease")
    return _Named(row, key_of_row, name.strip(), None)


def _check_ids(named: Sequence[_Named], where: str) -> None:
    names: dict[Key, str] = {}
    for category in named:
        if category.key in names:
            raise ValueError(
                f"{where}, categories: id {shown(category.row['id'])} occurs twice, as "
                f"{names[category.key]!r} and {category.name!r}"
            )
        names[category.key] = category.name


def _check_names(named: Sequence[_Named], where: str) -> None:
    """Two names of one disease would split its boxes."""
    by_key: dict[str, str] = {}
    for category in named:
        key = synonym_key(category.name)
        if key not in by_key:
            by_key[key] = category.name
            continue
        other = by_key[key]
        if other == category.name:
            raise ValueError(f"{where}, categories: name {other!r} occurs twice")
        raise ValueError(
            f"{where}, categories: {other!r} and {category.name!r} name one disease; a label map "
            f"(--labels MAP.yaml) with a line for each says whether they are one"
        )


def _parents(named: Sequence[_Named], used: Set[Key | None]) -> set[Key]:
    """Categories without annotations that stand above others, or for no finding at all."""
    above = {
        str(category.row["supercategory"]).strip()
        for category in named
        if category.row.get("supercategory") and category.row["supercategory"] != category.name
    }
    # Roboflow's project may bear the name of one of its classes
    twice = {c.name for c in named if sum(other.name == c.name for other in named) > 1}
    own = {c.name for c in named if c.name in twice and c.row.get("supercategory") == c.name}
    return {
        category.key
        for category in named
        if category.key not in used
        and (
            category.name in above
            or (category.name in own and category.row.get("supercategory") != category.name)
            or name_key(category.name).strip() in _BACKGROUND
        )
    }


def _mapped(
    category: _Named,
    parents: Set[Key],
    used: Set[Key | None],
    labels: LabelMap | None,
    where: str,
) -> _Named:
    disease: str | None = category.name
    if category.key in parents:
        disease = None
    elif labels is not None:
        here = f"{where}, categories"
        try:
            disease = labels.disease(category.name, here)
        except ValueError:
            if category.key in used:
                raise
            disease = None  # nothing is annotated as it
    return _Named(category.row, category.key, category.name, disease)


def _numbers(by_disease: Mapping[str, Sequence[_Named]]) -> dict[str, int]:
    """The file's ids where each disease has one that is whole; else from 1."""
    keys = {disease: [c.key for c in members] for disease, members in by_disease.items()}
    if all(len(k) == 1 and isinstance(k[0], int) and 0 <= k[0] <= LARGEST for k in keys.values()):
        return {disease: int(k[0]) for disease, k in keys.items()}
    return {disease: place for place, disease in enumerate(by_disease, start=1)}


def _entry(disease: str, number: int, members: Sequence[_Named]) -> dict[str, Any]:
    entry = {**members[0].row, "id": number, "name": disease}
    if len(members) == 1 and (members[0].key, members[0].name) == (number, disease):
        return entry
    return {**entry, SOURCES: [[member.row["id"], member.name] for member in members]}


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def _notes(
    named: Sequence[_Named], used: Set[Key | None], labels: LabelMap | None
) -> tuple[str, ...]:
    numbers = [c.name for c in named if _is_number(c.name)]
    also = (f"category names that are numbers, read as texts: {some(numbers)}",) if numbers else ()
    if labels is None:
        return also
    renamed = [f"{c.name} is {c.disease}" for c in named if c.disease not in (None, c.name)]
    left_out = [c.name for c in named if c.disease is None and c.key in used]
    notes = [f"names by {labels.source}: {', '.join(renamed)}"] if renamed else []
    if left_out:
        notes.append(f"left out by {labels.source}: {', '.join(left_out)}")
    return (*also, *notes)
