"""The command line of the tools: settings, and one convention of exit codes (see `run_tool`).

    python tools/train_classifier.py --config configs/x.yaml --train.lr 1e-4

Settings fill a frozen dataclass from a YAML file and dotted overrides (jsonargparse). An unknown
key or a bad value ends the program with exit status 2 and a message that names the key. All tools
end with 0 when all is done, 1 when some inputs failed and the others were done, 2 for wrong usage
or files that are not what is needed, and 130 after an interrupt.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

Config = TypeVar("Config")


def config_parser(config_class: type[Any], description: str | None = None) -> ArgumentParser:
    """Parser whose options are the fields of `config_class`, nested dataclasses as dotted names."""
    from jsonargparse import ArgumentParser  # slow to import, and not all tools have a config

    parser = ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="YAML file with any of the options below")
    parser.add_class_arguments(config_class, nested_key=None, as_group=False)
    return parser


def load_config(
    config_class: type[Config], argv: Sequence[str] | None = None, description: str | None = None
) -> Config:
    """Config from command-line arguments (default: the program's own).

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


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """The options of tools that look at images with trained models."""
    parser.add_argument("--classifier", type=Path, required=True, help="classifier.safetensors")
    parser.add_argument("--maskrcnn", type=Path, help="maskrcnn.safetensors: second localizer")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto")
    parser.add_argument("--precision", default="auto", help="auto, fp32 or bf16")
    parser.add_argument(
        "--runtime",
        default="torch",
        help="of networks: torch, torch-bf16, onnx, openvino or openvino-int8 (see quantize.py)",
    )


def run_tool(
    tool: str, job: Callable[[], int | None], interrupted: str = "the same command does the rest"
) -> int:
    """Do a tool's job, its command line included; returns the exit status, the same for all tools.

    Args:
        tool: its name, as its messages begin.
        job: returns 1 when some inputs failed and the others were done; 0 or nothing when all is
            done. For wrong usage, and files that are not what it needs, it raises ValueError,
            OSError or ImportError.
        interrupted: what a user who stops it has to know.

    Returns:
        What `job` returns; 2, after a message on stderr, for such an error; 130 after an interrupt.

    Raises:
        SystemExit: of argparse and jsonargparse: status 2 for wrong usage, 0 for --help.
    """
    try:
        return job() or 0
    except (ValueError, OSError, ImportError) as error:
        print(f"{tool}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{tool}: interrupted; {interrupted}", file=sys.stderr)
        return 130


def named_files(arguments: Sequence[str], option: str = "--predictions") -> dict[str, Path]:
    """`NAME=FILE` arguments as a dict, in order.

    Raises:
        ValueError: for a word without a name or a file, or a name given twice.
    """
    files: dict[str, Path] = {}
    for word in arguments:
        name, equals, file = word.partition("=")
        if not (equals and name.strip() and file):
            raise ValueError(f"{option} {word!r}: expected NAME=FILE, such as mask_rcnn=a.json")
        if name in files:
            raise ValueError(f"{option}: the name {name!r} is given twice; each needs its own")
        files[name] = Path(file)
    return files
