"""Pieces of Markdown that several pages need."""

from __future__ import annotations

import ast
import csv
import inspect
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; bars and line breaks in a cell are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


_TABLE = re.compile(r"^<!-- table (\S+): (.+) -->$", re.MULTILINE)


def with_tables(page: Path) -> str:
    """A page with each `<!-- table FILE.csv: column, column -->` replaced by these columns.

    The file lies beside the page.

    Raises:
        ValueError: for a column that the file does not have.
    """

    def filled(match: re.Match[str]) -> str:
        columns = match[2].split(", ")
        with (page.parent / match[1]).open(newline="", encoding="utf-8") as handle:
            reader = csv.DictReader(handle)
            missing = set(columns) - set(reader.fieldnames or ())
            if missing:
                raise ValueError(f"{page}: {match[1]} has no column {', '.join(sorted(missing))}")
            return table(columns, [[plain(row[c]) for c in columns] for row in reader])

    return _TABLE.sub(filled, page.read_text(encoding="utf-8"))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def code(text: str) -> str:
    """Text as it would stand between backticks; empty stays empty."""
    return f"`{text}`" if text else ""


def plain(text: str) -> str:
    """Text whose brackets, stars and underscores outside of backticks mean nothing."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if part.startswith("`") else re.sub(r"([\[\]*_])", r"\\\1", part).replace("<", "&lt;")
        for part in parts
    )


def from_docstring(docstring: str) -> str:
    """A docstring as Markdown: indented blocks stand as they are typed, the rest is prose."""
    return "\n\n".join(map(_block, inspect.cleandoc(docstring).split("\n\n")))


def _block(block: str) -> str:
    if _is_verbatim(block):
        return f"```text\n{inspect.cleandoc(block)}\n```"
    items = re.split(r"\n(?! )", block)
    if len(items) > 1 and any("\n" in item for item in items):  # hanging lines: a list
        return "\n".join(f"- {plain(' '.join(item.split()))}" for item in items)
    return plain(block)


def _is_verbatim(block: str) -> bool:
    """Indented, or columns: a line with a run of blanks inside."""
    return block.startswith("    ") or any(re.search(r"\S {3,}\S", b) for b in block.splitlines())


def module_docstring(module: str) -> str:
    """The docstring of `cxrloc.MODULE`, read without importing it.

    Raises:
        FileNotFoundError: where there is no such module.
        ValueError: for a module without a docstring.
    """
    path = REPOSITORY / f"{module.replace('.', '/')}.py"
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not text:
        raise ValueError(f"{path}: expected a docstring, of which the documentation makes a page")
    return text
