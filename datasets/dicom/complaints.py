"""Judge what a decoder says about an image that it decoded all the same."""

from __future__ import annotations

import re

_DAMAGE = re.compile(
    r"corrupt|premature|invalid|\bbad\b|bogus|inconsistent|unsupported|too (?:short|large|many)"
    r"|missing|unexpected|fail|error",
    re.IGNORECASE,
)
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_END = b"\xff\xd9"
_FILL = b"\x00\xff\x20\r\n"


def complaint(said: str, stream: bytes) -> str | None:
    """The first sign of damage in a decoder's messages; None if they tell of none.

    Surplus bytes before the end marker are one only if they are pixels: where an image was damaged
    in its middle, the decoder finishes early and some are left over.

    Args:
        said: what the decoder wrote, one message a line.
        stream: the compressed image, or the file that ends with it.
    """
    for line in said.splitlines():
        if _DAMAGE.search(line) and not _is_fill(line, stream):
            return line.strip()[:120]
    return None


def _is_fill(line: str, stream: bytes) -> bool:
    surplus = _EXTRANEOUS.search(line)
    if surplus is None:
        return False
    end = stream.rfind(_END)
    return end >= 0 and not stream[end - int(surplus[1]) : end].strip(_FILL)
