"""Fill a frozen dataclass from a YAML file and dotted command-line overrides (jsonargparse).

    python tools/train_classifier.py --config configs/x.yaml --train.lr 1e-4

An unknown key or a bad value ends the program with exit status 2 and a message that names the key.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from jsonargparse import ArgumentParser

Config = TypeVar("Config")


def config_parser(config_class: type[Any], description: str | None = None) -> ArgumentParser:
    """Parser whose options are the fields of `config_class`, nested dataclasses as dotted names."""
    parser = ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="YAML file with any of the options below")
    parser.add_class_arguments(config_class, nested_key=None, as_group=False)
    return parser


def load_config(
    config_class: type[Config], argv: Sequence[str] | None = None, description: str | None = None
) -> Config:
    """Config from command-line words (default: the program's own).

    Raises:
        SystemExit: status 2, after a message on stderr, for an unknown key, a bad value or a
            missing file.
    """
    parser = config_parser(config_class, description)
    namespace = parser.parse_args(None if argv is None else list(argv))
    names = {f.name for f in dataclasses.fields(config_class)}  # type: ignore[arg-type]
    try:
        built = vars(parser.instantiate(namespace))
        return config_class(**{key: value for key, value in built.items() if key in names})
    except (ValueError, FileNotFoundError) as error:  # what a dataclass's own check says
        parser.error(str(error))


def port_number(word: str) -> int:
    """A TCP port out of the command line, 1 to 65535: `type` of an argparse option."""
    if not (word.isdecimal() and 1 <= int(word) <= 65535):
        raise argparse.ArgumentTypeError(f"{word!r}, expected a port from 1 to 65535")
    return int(word)


def run_tool(
    config_class: type[Config],
    argv: Sequence[str] | None,
    description: str | None,
    job: Callable[[Config], object],
) -> int:
    """Load a tool's settings and do its job; returns the exit status.

    Returns:
        0 when the job is complete; 1, after a message on stderr, when it says by ValueError,
        OSError or ImportError that data, weights or a library are not what it needs.

    Raises:
        SystemExit: status 2 for bad settings, see `load_config`.
    """
    config = load_config(config_class, argv, description)
    try:
        job(config)
    except (ValueError, OSError, ImportError) as error:
        print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)  # as argparse does
        return 1
    return 0


def named_files(words: Sequence[str], option: str = "--predictions") -> dict[str, Path]:
    """`NAME=FILE` words as a dict, in order.

    Raises:
        ValueError: for a word without a name or a file, or a name given twice.
    """
    files: dict[str, Path] = {}
    for word in words:
        name, equals, file = word.partition("=")
        if not (equals and name.strip() and file):
            raise ValueError(f"{option} {word!r}: expected NAME=FILE, such as mask_rcnn=a.json")
        if name in files:
            raise ValueError(f"{option}: the name {name!r} is given twice; each needs its own")
        files[name] = Path(file)
    return files
