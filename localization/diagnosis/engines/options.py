"""Options of a tool that predicts images: what is written of each, and where they are predicted."""

from __future__ import annotations

import argparse
from pathlib import Path

from cxrloc.localization.diagnosis.engines.work import WRITTEN


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Add --write, --workers, --engine and --master; `check_engine` holds them to each other."""
    many = parser.add_argument_group("what is written, and where it is predicted")
    kinds = f"some of {','.join(WRITTEN)} (default: json,pictures)"
    default = ("json", "pictures")
    many.add_argument("--write", type=_kinds, default=default, metavar="KINDS", help=kinds)
    each = "processes, each with one thread (default: one process with all threads)"
    many.add_argument("--workers", type=count, metavar="N", help=each)
    many.add_argument("--engine", choices=("local", "spark"), default="local", help="where")
    cluster = "of Spark: local[*] (the default), spark://host:7077, yarn, ..."
    many.add_argument("--master", metavar="URL", help=cluster)


def check_engine(arguments: argparse.Namespace) -> None:
    """Hold the options to each other; a cluster without a name is this machine.

    Raises:
        ValueError: for options that do not go together.
    """
    spark, write = arguments.engine == "spark", arguments.write
    if not spark and arguments.master is not None:
        raise ValueError("--master is the cluster of --engine spark; give both")
    if spark and arguments.workers is not None:
        raise ValueError("--workers is for this machine; Spark's own settings say how many tasks")
    if not {"json", "table"} & set(write):
        raise ValueError(
            f"--write {','.join(write)}: expected json or table too, which tell what is done"
        )
    if spark and "table" not in write:
        raise ValueError("--engine spark does a part of the tables at a time: add table to --write")
    if isinstance(arguments.out, str) and (arguments.export or arguments.dicomweb is not None):
        raise ValueError(f"--out {arguments.out}: --export and --dicomweb need a folder")
    if arguments.export and "json" not in write:
        raise ValueError("--export is made of the JSON files: add json to --write")
    arguments.master = (arguments.master or "local[*]") if spark else None


def _kinds(word: str) -> tuple[str, ...]:
    kinds = tuple(dict.fromkeys(filter(None, word.split(","))))
    unknown = [kind for kind in kinds if kind not in WRITTEN]
    if unknown or not kinds:
        raise argparse.ArgumentTypeError(f"{word!r}, expected some of {','.join(WRITTEN)}")
    return kinds


def place(word: str) -> Path | str:
    """A path, or a URL as it is."""
    if not word:  # an unset variable of the shell; as a path it would be the current folder
        raise argparse.ArgumentTypeError("an empty name; expected an image or a folder")
    return word if "://" in word else Path(word)


def count(word: str) -> int:
    """A whole number from 1: `type` of an argparse option."""
    if not (word.isdecimal() and int(word) > 0):
        raise argparse.ArgumentTypeError(f"{word!r}, expected a whole number from 1")
    return int(word)
