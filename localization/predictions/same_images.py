"""Find the images of one ground truth among those of another, by name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from cxrloc.datasets.provenance.names import common_key, names_of_others


@dataclass(frozen=True)
class SameImages:
    """Images that two ground truths share.

    Attributes:
        first_of: name in the second -> name in the first.
        renamed: how many were found through the NIH names behind those of the second.
        unknown: how many images of the second the first lacks.
        doubtful: how many share a name with another in either, so that it is not clear which is
            which; left out.
    """

    first_of: Mapping[str, str] = field(repr=False)
    renamed: int = 0
    unknown: int = 0
    doubtful: int = 0


def same_images(first: Collection[str], second: Collection[str]) -> SameImages:
    """Match the names of two ground truths.

    Folders and endings do not count, and names of ChestX-Det and of the RSNA challenge stand for
    the NIH images behind them (`common_key`).
    """
    key = common_key(first, second)
    here, there = _by_key(second, key), _by_key(first, key)
    shared = here.keys() & there.keys()
    sure = {here[k][0]: there[k][0] for k in here if len(here[k]) == len(there.get(k, ())) == 1}
    known = sum(len(here[k]) for k in shared)
    return SameImages(
        first_of=sure,
        renamed=len(sure.keys() & set(names_of_others(second)) - set(sure.values())),
        unknown=len(second) - known,
        doubtful=known - len(sure),
    )


def _by_key(names: Collection[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    by_key: dict[str, list[str]] = {}
    for name in names:
        by_key.setdefault(key(name), []).append(name)
    return by_key
