"""Which of the offered media types a client's Accept header prefers (RFC 9110, 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence

from cxrloc.tools.server.problems import ProblemError


def chosen_type(accept: str, offered: Sequence[str]) -> str:
    """The offered type with the highest quality; on equal terms the first offered.

    Raises:
        ProblemError: 406 when none is acceptable.
    """
    ranges = [_range(part) for part in accept.split(",") if part.strip()] or [("*/*", 1.0)]
    best = max(offered, key=lambda media: _quality(media, ranges))
    if _quality(best, ranges) <= 0:
        raise ProblemError(406, f"Accept: {accept}; offered are {', '.join(offered)}")
    return best


def _range(part: str) -> tuple[str, float]:
    media, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                return media, 0.0
            return media, quality if 0 <= quality <= 1 else 0.0
    return media, 1.0


def _quality(media: str, ranges: Sequence[tuple[str, float]]) -> float:
    """Quality by the most specific range that matches; 0 without one."""
    for pattern in (media, f"{media.split('/')[0]}/*", "*/*"):
        for text, quality in ranges:
            if text == pattern:
                return quality
    return 0.0
