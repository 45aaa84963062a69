"""The page that --help prints, made of a tool's docstring: summary, examples, options, notes.

Blocks of the docstring that are indented by four spaces are examples and are printed as they stand;
all other blocks are paragraphs, wrapped to the width of the terminal.
"""

from __future__ import annotations

import argparse
import difflib
import inspect
import re
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


_UNKNOWN_OPTION = re.compile(r"unrecognized arguments: .*?(--[^\s=]+)")
_UNKNOWN_KEYS = (  # as jsonargparse says it of a file: the last has its group
    re.compile(r"Option '(?P<key>[^']+)' is not accepted"),
    re.compile(r"Group '(?P<group>[^']+)' does not accept option '(?P<key>[^']+)'"),
)


def suggestion(message: str, parser: argparse.ArgumentParser) -> str:
    """The known option nearest to the unknown one in an error: `; did you mean ...?`, or nothing.

    Args:
        message: of the error; an option in it is as on the command line, a key as in a file.
        parser: knows the options.
    """
    names = [option for action in parser._actions for option in action.option_strings]
    unknown = ""
    if option := _UNKNOWN_OPTION.search(message):
        unknown = option[1]
    elif key := next(filter(None, (p.search(message) for p in _UNKNOWN_KEYS)), None):
        unknown = ".".join(key.groupdict().values())
        names = [name.removeprefix("--").replace("-", "_") for name in names]
    near = difflib.get_close_matches(unknown, names, n=1, cutoff=0.7)
    return f"; did you mean {near[0]}?" if near else ""
