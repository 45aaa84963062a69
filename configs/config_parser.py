"""jsonargparse's parser of dataclass settings, in the style of the other tools' options."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_origin, get_type_hints

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from cxrloc.configs.help_page import add_full_paths, fill, split_page, suggestion
from cxrloc.datasets.files.checked import LONGEST_NAME
from cxrloc.datasets.files.parse import read_yaml

_LONGEST_CHOICES = 40  # characters, beside an option
_UNSAID = (None, "", (), argparse.SUPPRESS)  # defaults that help does not print


Option = TypeVar("Option", bound=argparse.Action)


class _Formatter(DefaultHelpFormatter):
    """Says defaults, but not Python types."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        settings = {"max_help_position": 22, **settings}
        super().__init__(*arguments, **settings)  # type: ignore[no-untyped-call]

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return fill(text, width)

    def _get_help_string(self, action: argparse.Action) -> str:
        said = (action.help or "").removesuffix(".")
        if action.required:
            return f"{said} (required)"
        if isinstance(action.default, bool) or action.default in _UNSAID:
            return said
        return f"{said} (default: %(default)s)"

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        return "" if action.metavar == "" else super()._format_args(action, default_metavar)

    def start_section(self, heading: str | None) -> None:
        width = self._width - self._current_indent - 1
        super().start_section(heading and fill(heading, width))

    def _format_action_invocation(self, action: argparse.Action) -> str:
        said = super()._format_action_invocation(action).rstrip()
        return said.split(", ")[0] if said.count("--") > 1 else said


class ConfigParser(ArgumentParser):
    """Options in kebab case, flags without a value, lists of several words."""

    files: Sequence[str] = ()  # given with --config

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """End as argparse's own parsers do."""
        if not self.exit_on_error:
            super().error(message, ex)
        self.print_usage(sys.stderr)
        said = " ".join(message.split())
        said += suggestion(said, self)
        files = ", ".join(name for name in self.files if name not in said)
        self.exit(2, f"{self.prog}: error: {said}{files and f' (with --config {files})'}\n")

    def check_files(self, words: Sequence[str]) -> None:
        """Refuse a file after --config that is no YAML mapping of names, with its place in it."""
        self.files = _after_config(words)
        for file in filter(os.path.isfile, self.files):
            try:
                content = read_yaml(Path(file))
            except (ValueError, OSError) as error:
                self.error(str(error))
            if not isinstance(content, dict) or not all(map(_is_name, _keys(content))):
                self.error(f"{file}: expected settings, each as `name: value`")
            if long := next((text for text in _texts(content) if len(text) > LONGEST_NAME), ""):
                self.error(f"{file}: {long[:60]!r}... has more than {LONGEST_NAME} characters")

    def _add_action(self, action: Option) -> Option:
        """Respell an option of the config itself; those of nested dataclasses are in groups."""
        if action.option_strings and not isinstance(action, argparse._HelpAction):
            action.option_strings = [
                word.replace("_", "-") for word in action.option_strings if not word.endswith("+")
            ]
            hint = getattr(action, "_typehint", None)
            if hint is bool:
                _make_flag(action)
            if _is_list(hint):
                action.metavar = f"{action.dest.upper()} ..."
        return super()._add_action(action)

    def with_lists(self, argv: Sequence[str]) -> list[str]:
        """`--size 256 512` as `--size=[256,512]`: the parser wants one word."""
        lists = {
            word
            for action in self._actions
            if _is_list(getattr(action, "_typehint", None)) and "." not in action.dest
            for word in action.option_strings
        }
        joined: list[str] = []
        rest = list(argv)
        while rest:
            word = rest.pop(0)
            items = []
            while word in lists and rest and not rest[0].startswith(("-", "[")):
                items.append(rest.pop(0))
            joined.append(f"{word}=[{','.join(items)}]" if items else word)
        return joined


def _after_config(words: Sequence[str]) -> list[str]:
    joined = [word.partition("=")[2] for word in words if word.startswith("--config=")]
    return joined + [b for a, b in itertools.pairwise(words) if a == "--config"]


def _keys(content: Any) -> Iterator[Any]:
    """All keys of nested mappings."""
    if isinstance(content, dict):
        yield from content
        for inner in content.values():
            yield from _keys(inner)


def _texts(content: Any) -> Iterator[str]:
    """All texts in nested mappings and lists, but for keys."""
    if isinstance(content, dict | list):
        for inner in content.values() if isinstance(content, dict) else content:
            yield from _texts(inner)
    elif isinstance(content, str):
        yield content


def _is_name(key: object) -> bool:
    return isinstance(key, str) and bool(key)


def build_parser(config_class: type[Any], program: str | None, docstring: str) -> ConfigParser:
    """The parser of a dataclass; `program` is the name that it goes by, None for the script's."""
    description, notes = split_page(docstring)
    nested = any(dataclasses.is_dataclass(hint) for hint in get_type_hints(config_class).values())
    parser = ConfigParser(
        prog=program,
        usage="%(prog)s [--config FILE] [--KEY VALUE ...]" if nested else None,
        description=description,
        epilog=notes,
        formatter_class=_Formatter,
        allow_abbrev=False,
        print_config="--print-config",
    )
    parser.add_argument(
        "--config", action="config", metavar="FILE", help="YAML file with any of these options"
    )
    parser.add_class_arguments(config_class, nested_key=None, as_group=False)
    add_full_paths(parser)
    for action in parser._actions:
        if action.metavar == "CONFIG":  # a nested dataclass as a whole: YAML is for that
            action.help = argparse.SUPPRESS
        elif len(str(action.metavar)) > _LONGEST_CHOICES:
            _list_choices(action)
        if action.option_strings == ["--print-config"]:
            action.help, action.metavar = "print all settings as YAML and end", ""
    return parser


def _list_choices(action: argparse.Action) -> None:
    """Name the choices in the text, where it does not, instead of beside the option."""
    choices = str(action.metavar).strip("{}").split(",")
    action.metavar = action.dest.rpartition(".")[2].upper()
    said = action.help or ""
    if not all(choice in said for choice in choices):
        action.help = f"{said} One of: {', '.join(choices)}."


def _make_flag(action: argparse.Action) -> None:
    """`--strict` alone is true; what is true by default is switched off by `--no-...`."""
    action.nargs, action.const, action.metavar = "?", not action.default, ""
    if action.default:
        action.option_strings = [f"--no-{word[2:]}" for word in action.option_strings]


def _is_list(hint: Any) -> bool:
    kinds = (hint, *getattr(hint, "__args__", ()))
    return any(get_origin(kind) in (list, tuple) for kind in kinds)
