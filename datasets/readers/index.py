"""Define what a data set's reader returns, with warnings counted by kind (errors if strict)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cxrloc.datasets.files.checked import LONGEST_NAME
from cxrloc.datasets.labels.people import MAXIMUM_AGE_YEARS, SEXES, VIEWS
from cxrloc.datasets.radiograph import Radiograph

EXAMPLES_KEPT = 5


class ReaderWarnings(Mapping[str, int]):
    """Counts of each kind of fault: a mapping from kind to count, in order of appearance.

    Args:
        strict: raise on the first warning instead of counting it. Notes (faults shipped by the
            publisher, such as ages of 411 years) are still only counted.
    """

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict
        self.examples: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}

    def warn(self, kind: str, examples: Sequence[str]) -> None:
        """Count one warning per example; an empty list is fine.

        Raises:
            ValueError: in strict mode, with the kind, the count and the first examples.
        """
        if not examples:
            return
        if self.strict:
            shown = ", ".join(examples[:EXAMPLES_KEPT])
            raise ValueError(f"strict: {kind}: {len(examples)} x ({shown})")
        self.note(kind, examples)

    def note(self, kind: str, examples: Sequence[str], count: int | None = None) -> None:
        """Count without ever raising; `count` if there are more cases than examples."""
        if not examples:
            return
        self._counts[kind] = self._counts.get(kind, 0) + (len(examples) if count is None else count)
        shown = self.examples.setdefault(kind, [])
        shown.extend(examples[: EXAMPLES_KEPT - len(shown)])

    def lines(self) -> list[str]:
        """One line per kind: count, kind, examples."""
        rows = []
        for kind, count in self._counts.items():
            shown = self.examples[kind]
            more = ", ..." if len(shown) == EXAMPLES_KEPT < count else ""
            rows.append(f"{count:>7} x {kind}: {', '.join(shown)}{more}")
        return rows

    def __getitem__(self, kind: str) -> int:
        return self._counts[kind]

    def __iter__(self) -> Iterator[str]:
        return iter(self._counts)

    def __len__(self) -> int:
        return len(self._counts)


@dataclass(frozen=True)
class DatasetIndex:
    """All listed images as radiographs, and the facts from the other files.

    Attributes:
        radiographs: one per listed image, in file order; `path` is None if no file was found.
        official: image id -> "train_val" or "test"; empty without the data set's lists.
        warnings: kind of fault -> count, with examples.
        sources: every file read, for the manifest's hashes.
        diseases: labelled diseases where the folder tells them and not the registry.
        boxed_diseases: those with boxes, likewise.
    """

    radiographs: list[Radiograph]
    official: dict[str, str]
    warnings: ReaderWarnings
    sources: tuple[Path, ...]
    diseases: tuple[str, ...] = ()
    boxed_diseases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check what every reader read; absurd ages are unknown, odd facts counted.

        Raises:
            ValueError: for a disease whose name is absurdly long.
        """
        self._check_names()
        odd = {r.image_id for r in self.radiographs if not _plausible(r.age_years)}
        if odd:
            kind = f"ages that are no number from 0 to {MAXIMUM_AGE_YEARS}, read as unknown"
            self.warnings.note(kind, [r.image_id for r in self.radiographs if r.image_id in odd])
            known = [
                replace(r, age_years=math.nan) if r.image_id in odd else r for r in self.radiographs
            ]
            object.__setattr__(self, "radiographs", known)
        self._note("sexes other than F and M, as written", SEXES, "sex")
        self._note("views by other names than the usual ones, as written", VIEWS, "view")

    def _check_names(self) -> None:
        names = set(self.diseases).union(*(r.labels for r in self.radiographs))
        names.update(box.disease for r in self.radiographs for box in r.boxes)
        longest = max(names, key=len, default="")
        if len(longest) > LONGEST_NAME:
            files = ", ".join(map(str, self.sources)) or "the data set"
            raise ValueError(
                f"{files}: {longest[:60]!r}... is a disease's name of over {LONGEST_NAME} "
                "characters; correct it"
            )

    def _note(self, kind: str, known: Sequence[str], fact: str) -> None:
        values = ((r.image_id, getattr(r, fact)) for r in self.radiographs)
        odd = [f"{image} ({value})" for image, value in values if value and value not in known]
        if kind not in self.warnings:  # an index made from another has them
            self.warnings.note(kind, odd)


def _plausible(age: float) -> bool:
    return math.isnan(age) or 0 <= age <= MAXIMUM_AGE_YEARS
