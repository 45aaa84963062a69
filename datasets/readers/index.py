"""What the reader of a data set returns, with its warnings counted by kind (errors when strict)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrloc.datasets.radiograph import Radiograph

EXAMPLES_KEPT = 5


class ReaderWarnings(Mapping[str, int]):
    """How often each kind of fault was met: a mapping from kind to count, in order of appearance.

    Args:
        strict: raise on the first warning instead of counting it. Notes (faults that the data set's
            publisher ships, such as ages of 411 years) are counted all the same.
    """

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict
        self.examples: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}

    def warn(self, kind: str, examples: Sequence[str]) -> None:
        """Count one warning per example; none is fine.

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
        """Count without ever raising; `count` where there are more cases than examples given."""
        if not examples:
            return
        self._counts[kind] = self._counts.get(kind, 0) + (len(examples) if count is None else count)
        shown = self.examples.setdefault(kind, [])
        shown.extend(examples[: EXAMPLES_KEPT - len(shown)])

    def lines(self) -> list[str]:
        """One line a kind: count, kind, examples."""
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
    """All listed images as radiographs, and what the other files say.

    Attributes:
        radiographs: one per listed image, in file order; `path` is None where no file was found.
        official: image id -> "train_val" or "test"; empty where the data set's lists are not there.
        warnings: kind of fault -> count, with examples.
        sources: every file that was read, for the manifest's hashes.
    """

    radiographs: list[Radiograph]
    official: dict[str, str]
    warnings: ReaderWarnings
    sources: tuple[Path, ...]
