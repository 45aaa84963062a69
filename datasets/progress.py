"""Progress of a long step: a bar on a terminal, a few plain lines where the output is a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
_FIRST_SECONDS, _MOST_SECONDS = 30.0, 600.0
_LINE = "{desc}: {n_fmt} of {total_fmt} {unit}s, {elapsed}{postfix}"


def progress(
    items: Iterable[Item] | None,
    description: str,
    total: int | None = None,
    *,
    unit: str = "image",
    initial: int = 0,
) -> tqdm[Item]:
    """The items, counted on stderr as they are taken; without items `update` counts."""
    settings: dict[str, Any] = {"unit": unit, "initial": initial}
    kind: Any = tqdm if sys.stderr.isatty() else _Lines
    bar: tqdm[Item] = kind(items, description, total, **settings)
    return bar


class _Lines(tqdm):  # type: ignore[type-arg]
    """One line after 30 s, the next after twice as long (at most 10 min), and one at the end."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self._wait = _FIRST_SECONDS
        self._due = time.monotonic() + self._wait
        settings["bar_format"] = _LINE
        super().__init__(*arguments, **settings)

    def display(  # type: ignore[override]  # tqdm's own returns whether it wrote
        self, msg: str | None = None, pos: int | None = None
    ) -> bool:
        closing = self.disable  # `close` sets it first, and ends the line itself
        if msg is not None or not (closing or time.monotonic() >= self._due):
            return False
        self._wait = min(2 * self._wait, _MOST_SECONDS)
        self._due = time.monotonic() + self._wait
        self.fp.write(str(self) + ("" if closing else "\n"))
        self.fp.flush()
        return True

    def clear(self, nolock: bool = False) -> None:
        """Lines stay where they are."""
