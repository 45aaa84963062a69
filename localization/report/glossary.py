"""The terms of the comparison by column and row name; glossary.yaml defines them.

`compare_localizers --explain` prints all of them, `--explain acc_iou@0.5` one. Every column of
every table has an entry, by test.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cxrloc.datasets.files.manifest import RESEARCH_USE

_FILE: dict[str, Any] = yaml.safe_load(
    Path(__file__).with_name("glossary.yaml").read_text(encoding="utf-8")
)
_SHARED: dict[str, str] = _FILE["shared"]
TOP_1_RULE, TOP_K_RULE = _SHARED["top_1"], _SHARED["top_k"]
MISS_RULE = _SHARED["miss"]
DEEP_MEDIA_NOTE = _SHARED["deep_media"]
SYMBOLS: str = _FILE["symbols"]
RULE_NAMES = {True: "top-k", False: "top-1"}  # by whether any image has several boxes of a disease
RULES = {True: TOP_K_RULE, False: TOP_1_RULE}


@dataclass(frozen=True)
class Term:
    """One entry of the explanation.

    Attributes:
        definition: what it is, in a sentence or two.
        hides: what could mislead a reader.
        formula: in the symbols of `SYMBOLS`; empty where the definition says it all.
        source: paper or convention; empty for our own.
        also: other names under which a column may carry it.
    """

    definition: str
    hides: str = ""
    formula: str = ""
    source: str = ""
    also: tuple[str, ...] = ()


def _read_term(entry: Mapping[str, Any]) -> Term:
    texts = {key: _fill_in(text) for key, text in entry.items() if key != "also"}
    return Term(**texts, also=tuple(entry.get("also", ())))


def _fill_in(text: str) -> str:
    """Replace `{miss}` by the shared text of that name, `{Miss}` by the same with a capital."""
    for name, shared in _SHARED.items():
        text = text.replace(f"{{{name}}}", shared)
        text = text.replace(f"{{{name.capitalize()}}}", shared[0].upper() + shared[1:])
    return text


TERMS = {name: _read_term(entry) for name, entry in _FILE["terms"].items()}

_THRESHOLD = re.compile(r"@[\d.]+")
_BESIDE = re.compile(r".* (IoGT|skill)$")  # columns of their own in the CSV


def lookup(column: str) -> Term:
    """Entry of a column or measure, without its threshold (`@0.5`), ` low`, ` high` and rule.

    `X IoGT` and `X skill` are explained as IoGT and skill.

    Raises:
        ValueError: for a name that has no entry; the known ones are listed.
    """
    plain = re.sub(r"( low| high|,? any| top-1)+$", "", _THRESHOLD.sub("", column)).strip()
    key = _BESIDE.sub(r"\1", plain)
    for name, term in TERMS.items():
        if key in (name, *term.also) or column in (name, *term.also):
            return term
    raise ValueError(f"no explanation of {column!r}; known are {', '.join(TERMS)}")


def explain(column: str | None = None) -> str:
    """The entry of one column as text, or all of them."""
    if column is not None:
        return f"{SYMBOLS}\n\n{_entry(column, lookup(column))}\n{RESEARCH_USE}.\n"
    entries = "\n".join(_entry(name, term) for name, term in TERMS.items())
    return f"The words of the comparison\n{SYMBOLS}\n\n{entries}\n{RESEARCH_USE}.\n"


def _entry(name: str, term: Term) -> str:
    parts = [("", term.definition), ("formula: ", term.formula), ("source: ", term.source)]
    parts.append(("hides: ", term.hides))
    title = ", ".join((name, *term.also))
    lines = [f"{label}{text}" for label, text in parts if text]
    body = "\n".join(
        textwrap.fill(line, 96, initial_indent="    ", subsequent_indent="      ") for line in lines
    )
    return f"{title}\n{body}\n"
