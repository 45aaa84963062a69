"""How the images of a run are cut into parts."""

from __future__ import annotations

from collections.abc import Iterator

_FIRST, _MOST = 16, 256  # images of a part


def part_bounds(images: int) -> Iterator[tuple[int, int]]:
    """The first and the last but one image of each part.

    The first parts are small, so that something is there soon.
    """
    begin, size = 0, _FIRST
    while begin < images:
        yield begin, min(begin + size, images)
        begin, size = begin + size, min(_MOST, begin + size)
