"""The command-line parsers of the verbs, taken from the scripts as they run."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn
from unittest.mock import patch

from cxrloc.configs.command_line import started_as
from cxrloc.configs.verbs import VERBS, Verb


class _ParserMadeError(BaseException):
    """Ends a script where it would read its arguments; no `except Exception` catches it."""


@dataclass(frozen=True)
class Option:
    """One option or argument as a table shows it."""

    group: str
    words: str
    help: str
    default: str
    required: bool


def verb_named(name: str) -> Verb:
    """The verb of that name.

    Raises:
        KeyError: for a name that is no verb.
    """
    return {verb.name: verb for verb in VERBS}[name]


def parser_of(verb: Verb) -> argparse.ArgumentParser:
    """A new parser as the verb's script makes it; jsonargparse's parse once only."""
    main = importlib.import_module(verb.module).main
    with _stopped() as parsers, started_as(f"cxrloc {verb.name}"):
        try:
            main(["--help"])
        except _ParserMadeError:
            return parsers[0]
    raise AssertionError(f"{verb.path}: main parsed no arguments")


@contextmanager
def _stopped() -> Iterator[list[argparse.ArgumentParser]]:
    """Within, whatever parser parses is kept instead, and the script ends."""
    from jsonargparse import ArgumentParser as ConfigParser

    parsers: list[argparse.ArgumentParser] = []

    def keep(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> NoReturn:
        parsers.append(parser)
        raise _ParserMadeError

    classes = (argparse.ArgumentParser, ConfigParser)
    with patch.object(classes[0], "parse_args", keep), patch.object(classes[1], "parse_args", keep):
        yield parsers


def options(parser: argparse.ArgumentParser) -> list[Option]:
    """All options in the order of the help page, but --help itself."""
    return [
        _option(group.title or "", action)
        for group in parser._action_groups
        for action in group._group_actions
        if action.help is not argparse.SUPPRESS and "--help" not in action.option_strings
    ]


def _option(group: str, action: argparse.Action) -> Option:
    words = ", ".join(action.option_strings) or str(action.metavar or action.dest)
    value = _value(action)
    return Option(
        group=group,
        words=f"{words} {value}" if action.option_strings and value else words,
        help=_help(action),
        default=_default(action),
        required=bool(action.required and action.option_strings),
    )


def _help(action: argparse.Action) -> str:
    said_in_its_column = f" (default: {action.default})"
    text = (action.help or "").removesuffix(said_in_its_column).replace("%%", "%").rstrip(".")
    if not action.choices:
        return text
    return f"{text}: {', '.join(f'`{choice}`' for choice in action.choices)}"


def _value(action: argparse.Action) -> str:
    """Its placeholder; a key of a configuration and a choice need none."""
    if action.nargs == 0 or action.metavar == "" or action.choices or "." in action.dest:
        return ""
    metavar = action.metavar or action.dest.upper()
    return " ".join(metavar) if isinstance(metavar, tuple) else metavar


def _default(action: argparse.Action) -> str:
    unsaid: tuple[Any, ...] = (None, "", argparse.SUPPRESS, False, [], ())
    return "" if action.default in unsaid or not action.option_strings else str(action.default)
