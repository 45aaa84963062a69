"""Warnings that are counted by kind, with examples, instead of scrolling by; errors when strict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

EXAMPLES_KEPT = 5


class CountedWarnings(Mapping[str, int]):
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
        kept = self.examples.setdefault(kind, [])
        kept.extend(examples[: EXAMPLES_KEPT - len(kept)])

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
