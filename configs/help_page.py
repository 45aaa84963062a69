"""The page that --help prints, made of a tool's docstring: summary, examples, options, notes.

Blocks of the docstring that are indented by four spaces are examples and are printed as they stand;
all other blocks are paragraphs, wrapped to the width of the terminal.
"""

from __future__ import annotations

import argparse
import inspect
import textwrap
from typing import Any

from cxrloc.datasets.files.runs.shown_paths import keep_full_paths

_MARGIN = "    "


def split_page(docstring: str) -> tuple[str, str]:
    """What stands above the options (the summary and the examples), and the notes below them."""
    blocks = inspect.cleandoc(docstring).split("\n\n")
    examples = [number for number, block in enumerate(blocks) if _is_example(block)]
    end = 1 + max(examples, default=0)
    return "\n\n".join(blocks[:end]), "\n\n".join(blocks[end:])


def _is_example(block: str) -> bool:
    return block.startswith(_MARGIN)


class PageFormatter(argparse.HelpFormatter):
    """Wraps paragraphs, leaves examples alone, and gives options a narrow column."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **{"max_help_position": 22, **settings})

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return fill(text, width)


def fill(text: str, width: int) -> str:
    """The blocks of a page, paragraphs wrapped to the width and examples indented by two."""
    blocks = [
        textwrap.indent(textwrap.dedent(block), "  ")
        if _is_example(block)
        else textwrap.fill(" ".join(block.split()), width, break_on_hyphens=False)
        for block in text.split("\n\n")
    ]
    return "\n\n".join(blocks)


class _FullPaths(argparse.Action):
    def __call__(self, *_: Any) -> None:
        keep_full_paths()


def add_full_paths(parser: argparse.ArgumentParser) -> None:
    """The option of tools that write a manifest."""
    parser.add_argument(
        "--full-paths",
        action=_FullPaths,
        nargs=0,
        dest=argparse.SUPPRESS,
        default=argparse.SUPPRESS,
        help="write whole paths into manifests and reports (default: from the results' folder)",
    )
