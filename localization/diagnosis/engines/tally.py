"""Count what became of the images of a run, in memory that does not grow with those done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxrloc.datasets.readers.layouts import study_of
from cxrloc.localization.diagnosis.engines.work import Outcome
from cxrloc.localization.diagnosis.prediction_table import MOST_ROWS, prediction_table


@dataclass
class Tally:
    """What is known of the images that are done.

    Attributes:
        before: done by an earlier run.
        now: done by this one.
        boxed: those of `now` with a disease that passes the gate.
        failures: why the others were not done.
        shown: place in the listing -> record of the first images, for the terminal.
        studies: place -> file and probabilities, of images in MURA's layout alone; None for
            probabilities where the image failed.
        failed: places of the images that were not done.
    """

    before: int = 0
    now: int = 0
    boxed: int = 0
    failures: list[str] = field(default_factory=list)
    shown: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    studies: dict[int, tuple[Path, dict[str, float] | None]] = field(default_factory=dict)
    failed: set[int] = field(default_factory=set)

    def add(self, outcome: Outcome) -> None:
        """Count an image."""
        number, record = outcome.task.number, outcome.record
        self._add_study(outcome)
        if record is None:
            self.failures.append(outcome.message or f"{outcome.task.source}: {outcome.failure}")
            self.failed.add(number)
            return
        self.before += outcome.before
        self.now += not outcome.before
        self.boxed += not outcome.before and any(f["present"] for f in record["findings"])
        self.shown[number] = record
        self._cut()

    def merge(self, other: Tally) -> None:
        """Count all images that another one has counted."""
        self.before += other.before
        self.now += other.now
        self.boxed += other.boxed
        self.failures += other.failures
        self.failed |= other.failed
        self.shown |= other.shown
        self.studies |= other.studies
        self._cut()

    def table(self) -> str:
        """What was found on the first images."""
        records = [self.shown[number] for number in sorted(self.shown)]
        more = self.before + self.now - len(records)
        return prediction_table(records) + (f"\n... and {more} more images" if more else "")

    def done(self, listed: Sequence[str]) -> Iterator[str]:
        """Those of a listing that were done, where all were tried."""
        return (each for place, each in enumerate(listed) if place not in self.failed)

    def of_studies(self) -> dict[Path, dict[str, float] | None]:
        """File -> probabilities of the images in MURA's layout, in the listing's order."""
        return dict(self.studies[number] for number in sorted(self.studies))

    def _add_study(self, outcome: Outcome) -> None:
        source, record = Path(outcome.task.source), outcome.record
        if "://" not in outcome.task.source and study_of(source) is not None:
            findings = None if record is None else record["findings"]
            found = {f["disease"]: f["probability"] for f in findings} if findings else None
            self.studies[outcome.task.number] = source, found

    def _cut(self) -> None:
        for number in sorted(self.shown)[MOST_ROWS:]:
            del self.shown[number]
