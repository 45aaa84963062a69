"""Find the images of one ground truth among those of another, by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from cxrloc.datasets.files.keys import image_key
from cxrloc.datasets.provenance.names import common_key
from cxrloc.datasets.readers.box_sets.nih_names.lookup import (
    nih_image_of_chestx_det,
    nih_image_of_rsna,
)


@dataclass(frozen=True)
class SameImages:
    """Images that two ground truths share.

    Attributes:
        first_of: name in the second -> name in the first.
        renamed: data set -> how many were found through the NIH names behind its own.
        unknown: how many images of the second the first lacks.
        doubtful: how many could be more than one image, or share one with another; left out.
    """

    first_of: Mapping[str, str] = field(repr=False)
    renamed: Mapping[str, int] = field(default_factory=dict)
    unknown: int = 0
    doubtful: int = 0


def same_images(first: Collection[str], second: Collection[str]) -> SameImages:
    """Match the names of two ground truths.

    Folders and endings do not count. Names that fit nothing so are looked up as names of ChestX-Det
    and of the RSNA challenge, whose images are NIH's.
    """
    plain = {name: name for name in first}
    found = _by_key(plain, {name: name for name in second})
    others = [name for name in second if not found.get(name)]
    ours = plain | {name: nih for name in first if (nih := _nih_name(name)[0])}
    found |= _by_key(ours, {name: _nih_name(name)[0] or name for name in others})
    shared = Counter(match for matches in found.values() for match in matches)
    sure = {
        name: matches[0]
        for name, matches in found.items()
        if len(matches) == 1 and shared[matches[0]] == 1
    }
    renamed = Counter(_nih_name(n)[1] for n in sure if image_key(n) != image_key(sure[n]))
    renamed.pop("", None)  # it is the first that has other names than NIH's
    unknown = sum(not matches for matches in found.values())
    return SameImages(sure, dict(renamed), unknown, len(found) - unknown - len(sure))


def _by_key(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, list[str]]:
    """Name in `second` -> the names in `first` whose alias has the same key as its own."""
    if not second:
        return {}
    key = common_key(set(first.values()), set(second.values()))
    names: dict[str, list[str]] = {}
    for name, alias in first.items():
        names.setdefault(key(alias), []).append(name)
    return {name: names.get(key(alias), []) for name, alias in second.items()}


def _nih_name(name: str) -> tuple[str, str]:
    """The NIH image behind a name, and whose name that is; two empty strings for any other."""
    if nih := nih_image_of_chestx_det(name):
        return nih, "ChestX-Det"
    if nih := nih_image_of_rsna(name):
        return nih, "RSNA"
    return "", ""
