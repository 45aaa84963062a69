"""The images of a run, part by part: what is to be done, and the tables' rows of what is done."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cxrloc.datasets.files.runs.shown_paths import as_text, shown_path
from cxrloc.datasets.files.storage import Storage
from cxrloc.datasets.readers.loose_images import image_name
from cxrloc.localization.diagnosis.engines.work import Outcome, Task, Work
from cxrloc.localization.diagnosis.finished import facts_of_sources


@dataclass(frozen=True)
class Part:
    """Images that stand one after the other in the listing, and in one part of the tables."""

    number: int
    tasks: tuple[Task, ...]


def parts_of(sources: Sequence[str], results: Sequence[str], out: str) -> Iterator[Part]:
    """The parts of a listing, made as they are asked for.

    Args:
        sources: path or URL of each image.
        results: stem of its files.
        out: folder or URL of the results.
    """
    from cxrloc.localization.diagnosis.tables.bounds import part_bounds

    local = Storage.at(out).local_path("")
    for number, (begin, end) in enumerate(part_bounds(len(sources))):
        tasks = (
            Task(place, number, sources[place], results[place], _shown(sources[place], local))
            for place in range(begin, end)
        )
        yield Part(number, tuple(tasks))


def _shown(source: str, out: Path | None) -> str:
    """The path from the results, where both are on this disk."""
    if "://" in source:
        return source
    path = os.path.abspath(source)
    return as_text(path) if out is None else shown_path(path, out)


@dataclass
class OpenPart:
    """A part of the tables of which images are still to be done.

    Attributes:
        key: of its files as they are now (`tables.parts`).
        outcomes: place in the listing -> what became of the image.
    """

    part: Part
    key: str
    outcomes: dict[int, Outcome] = field(default_factory=dict)

    @classmethod
    def of(cls, part: Part, work: Work) -> OpenPart:
        from cxrloc.localization.diagnosis.tables.parts import part_key

        now = facts_of_sources([task.source for task in part.tasks])
        facts = [[t.result, t.path, known] for t, known in zip(part.tasks, now, strict=True)]
        return cls(part, part_key(work.manifest, facts))

    def finished(self, work: Work) -> list[Outcome] | None:
        """What an earlier run made of the part; None if it did not."""
        from cxrloc.localization.diagnosis.tables.parts import read_part, summaries

        rows = read_part(Storage.at(work.out), self.part.number, self.key)
        if rows is None or len(rows) != len(self.part.tasks):
            return None
        known = zip(self.part.tasks, summaries(rows), strict=True)
        return [Outcome(task, record, failure, before=True) for task, (record, failure) in known]

    def add(self, outcome: Outcome, work: Work) -> bool:
        """Take an image; the last one writes the part, and returns True."""
        from cxrloc.localization.diagnosis.tables.parts import write_part
        from cxrloc.localization.diagnosis.tables.rows import rows_of

        self.outcomes[outcome.task.number] = outcome
        if len(self.outcomes) < len(self.part.tasks):
            return False
        rows = []
        for task in self.part.tasks:
            done = self.outcomes[task.number]
            image = {"image": image_name(task.source), "result": task.result, "path": task.path}
            rows.append(rows_of(image, done.record, done.failure))
        write_part(Storage.at(work.out), self.part.number, self.key, work.manifest, rows)
        return True


class OpenParts:
    """The parts that are being done; holds what is known of their images, and of no others.

    Args:
        parts: of the listing.
        work: what is done with them.
        known: called with each image of a part that an earlier run finished.
    """

    def __init__(
        self, parts: Iterable[Part], work: Work, known: Callable[[Outcome], object]
    ) -> None:
        self._parts, self._work, self._known = parts, work, known
        self._open: dict[int, OpenPart] = {}

    def tasks(self) -> Iterator[Task]:
        """The images that no finished part holds."""
        for part in self._parts:
            if "table" in self._work.write:
                opened = OpenPart.of(part, self._work)
                if (done := opened.finished(self._work)) is not None:
                    for outcome in done:
                        self._known(outcome)
                    continue
                self._open[part.number] = opened
            yield from part.tasks

    def take(self, outcome: Outcome) -> None:
        """Note an image that is done; the last one of a part writes it."""
        opened = self._open.get(outcome.task.part)
        if opened is not None and opened.add(outcome, self._work):
            del self._open[outcome.task.part]
