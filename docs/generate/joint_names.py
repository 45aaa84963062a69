"""An extension of Griffe, which reads docstrings for the API: `low, high: text` explains both.

Google's style knows one name a line, so such a line is split into one line a name.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_SECTION = re.compile(r"^(Args|Attributes):\n((?:^(?: .*)?\n?)+)", re.MULTILINE)
_JOINT = re.compile(r"^( +)(\w+(?:, \w+)+): (.*(?:\n\1 +\S.*)*)$", re.MULTILINE)


class JointNames(griffe.Extension):
    """Splits the joint lines of every docstring's arguments and attributes."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring before it is parsed."""
        if obj.docstring is not None:
            obj.docstring.value = split_joint_names(obj.docstring.value)


def split_joint_names(docstring: str) -> str:
    """The docstring with one line a name in its sections of arguments and attributes."""
    return _SECTION.sub(lambda section: _JOINT.sub(_split, section[0]), docstring)


def _split(line: re.Match[str]) -> str:
    indent, names, text = line.groups()
    return "\n".join(f"{indent}{name}: {text}" for name in names.split(", "))
