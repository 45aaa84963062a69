"""The command line of the tools: settings, and one convention of exit codes (see `run_tool`).

    cxrloc train-gate --config configs/x.yaml --train.lr 1e-4

Settings fill a frozen dataclass from a YAML file and from options (jsonargparse): its own fields
are `--kebab-case`, those of nested dataclasses have dots and are spelled as in YAML. An unknown key
or a bad value ends the program with exit status 2 and a message that names the key. All tools end
with 0 when all is done, 1 when some inputs failed and the others were done, 2 for wrong usage or
files that are not what is needed, 130 after Ctrl+C, and 143 after SIGTERM.
"""

from __future__ import annotations

import argparse
import contextlib
import contextvars
import dataclasses
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from cxrloc.configs.extras import what_to_install
from cxrloc.configs.help_page import PageFormatter, split_page, suggestion
from cxrloc.datasets.files.addresses import path_or_address
from cxrloc.datasets.files.runs.shown_paths import own_setting
from cxrloc.datasets.files.runs.stopping import GRACE, Stop, end_children, stopping
from cxrloc.datasets.files.runs.temporaries import temporary_folder

if TYPE_CHECKING:
    from cxrloc.configs.config_parser import ConfigParser

Config = TypeVar("Config")

# at the start of a word or value, and after the = and the commas of NAME=PATH,NAME=PATH
_HOME = re.compile(r"(?:^|(?<=[=,]))~[^/=,]*(?=/|,|$)")

_started_as: contextvars.ContextVar[str | None] = contextvars.ContextVar("program", default=None)


@contextlib.contextmanager
def started_as(program: str) -> Iterator[None]:
    """Within, tools call themselves `program` in usage and errors, not by their script's name."""
    token = _started_as.set(program)
    try:
        yield
    finally:
        _started_as.reset(token)


class _ToolParser(argparse.ArgumentParser):
    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        words = sys.argv[1:] if args is None else args
        return super().parse_known_args([with_home(word) for word in words], namespace)

    def error(self, message: str) -> NoReturn:
        super().error(message + suggestion(message, self))


def with_home(value: Any) -> Any:
    """A word of the command line, or values of a config, with `~` replaced by the home folder."""
    if isinstance(value, str):
        return _HOME.sub(lambda match: os.path.expanduser(match[0]), value)
    if isinstance(value, Path):
        return Path(with_home(str(value)))
    if isinstance(value, list | tuple):
        return type(value)(map(with_home, value))
    if isinstance(value, dict):
        return {key: with_home(inner) for key, inner in value.items()}
    return value


def tool_parser(docstring: str | None, usage: str | None = None) -> argparse.ArgumentParser:
    """A parser whose help is the tool's docstring: examples, the options, then the notes."""
    description, notes = split_page(docstring or "")
    return _ToolParser(
        _started_as.get(),
        usage,
        description,
        notes,
        formatter_class=PageFormatter,
        allow_abbrev=False,
    )


def config_parser(config_class: type[Any], docstring: str | None = None) -> ConfigParser:
    """Parser whose options are the fields of `config_class`, nested dataclasses as dotted names."""
    from cxrloc.configs.config_parser import build_parser  # slow, and not all tools have a config

    return build_parser(config_class, _started_as.get(), docstring or "")


def load_config(
    config_class: type[Config], argv: Sequence[str] | None = None, docstring: str | None = None
) -> Config:
    """Config from command-line arguments (default: the program's own).

    Raises:
        SystemExit: status 2, after a message on stderr, for an unknown key, a bad value or a
            missing file.
    """
    parser = config_parser(config_class, docstring)
    words = [with_home(word) for word in (sys.argv[1:] if argv is None else argv)]
    words = parser.with_lists(words)
    parser.check_files(words)
    try:
        namespace = parser.parse_args(words)
    except OverflowError as error:
        parser.error(str(error))
    for key, value in list(namespace.items()):  # those of YAML files, too
        if not dataclasses.is_dataclass(value):
            namespace[key] = with_home(value)
    names = {f.name for f in dataclasses.fields(config_class)}  # type: ignore[arg-type]
    try:
        built = vars(parser.instantiate(namespace))
        return config_class(**{key: value for key, value in built.items() if key in names})
    except (
        ValueError,
        TypeError,
        OverflowError,
        FileNotFoundError,
    ) as error:  # what a dataclass's check says
        parser.error(str(error))


def port_number(word: str) -> int:
    """A TCP port out of the command line, 1 to 65535: `type` of an argparse option."""
    if not (word.isdecimal() and 1 <= int(word) <= 65535):
        raise argparse.ArgumentTypeError(f"{word!r}, expected a port from 1 to 65535")
    return int(word)


def add_model_options(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """The options of tools that look at images with trained models.

    Args:
        parser: gets them.
        required: False where the tool can do something without a gate, and checks that itself.
    """
    models = parser.add_argument_group("trained models")
    models.add_argument(
        "--gate",
        type=path_or_address,
        required=required,
        metavar="GATE",
        help="the gate: a bundle (classifier.safetensors), a run folder that holds one, an "
        "exported gate (.onnx), or the address of one (hf://ORG/NAME@REVISION/FILE or "
        "https://HOST/FILE#sha256=HEX)",
    )
    models.add_argument(
        "--maskrcnn",
        type=path_or_address,
        metavar="DETECTOR",
        help="the detector, as a second localizer: a bundle (maskrcnn.safetensors), run folder, "
        "exported detector (.onnx) or address",
    )
    group = parser.add_argument_group("speed")
    group.add_argument("--device", default="auto", help="auto (the default), cpu or cuda")
    group.add_argument("--precision", default="auto", help="auto (the default), fp32 or bf16")
    group.add_argument(
        "--runtime",
        help="runs the gate: torch (the default), torch-bf16, onnx, openvino or openvino-int8 "
        "(made by `cxrloc quantize`); exported models have their own",
    )


def add_tls(parser: argparse.ArgumentParser, speaker: str) -> None:
    """The options of servers that can speak TLS; `speaker` says what then does."""
    group = parser.add_argument_group("TLS")
    group.add_argument(
        "--certificate",
        type=Path,
        metavar="FILE",
        help=f"PEM certificate, with its chain: {speaker} then speaks TLS",
    )
    group.add_argument("--key", type=Path, metavar="FILE", help="its PEM key, without a passphrase")


def add_any_image(parser: argparse.ArgumentParser, *, body_part: bool = False) -> None:
    """The options of tools that refuse images which do not look like a chest."""
    parser.add_argument(
        "--any-image",
        action="store_true",
        help="only warn of images that do not look like a frontal chest radiograph",
    )
    if body_part:
        others = "only warn of DICOM images that name another body part than the chest"
        parser.add_argument("--any-body-part", action="store_true", help=others)


def add_resampling_options(parser: argparse.ArgumentParser) -> None:
    """The options of tools that put intervals on the figures of classifiers."""
    parser.add_argument(
        "--resamples",
        type=int,
        default=1000,
        metavar="N",
        help="resamples of patients for intervals (default: 1000)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the resamples")


def run_tool(
    tool: str,
    job: Callable[[], int | None],
    interrupted: str = "the same command does the rest",
    tidies: bool = True,
    grace: float = GRACE,
) -> int:
    """Do a tool's job, its command line included; returns an exit status by the one convention.

    Args:
        tool: its script's name, with which its messages begin where `cxrloc` did not start it.
        job: returns 1 when some inputs failed and the others were done; 0 or nothing when all is
            done. For wrong usage, and files that are not what it needs, it raises ValueError,
            OSError or ImportError.
        interrupted: what a user who stops it has to know.
        tidies: whether it may leave something to tidy up; otherwise it is ended at once.
        grace: seconds that it may take for that.

    Returns:
        What `job` returns; 2, after a message on stderr, for such an error; 130 after Ctrl+C, 143
        after SIGTERM, within 3 s (and what `grace` adds) and with no child left.

    Raises:
        SystemExit: by argparse and jsonargparse: status 2 for wrong usage, 0 for --help.
    """
    program = _started_as.get() or tool
    owns_process = Path(sys.argv[0]).stem in (tool, "cxrloc", "cli")  # or it is called as a library
    if owns_process and isinstance(sys.stdout, io.TextIOWrapper):
        # a name that the terminal has no letters for must not end a run (stderr escapes by itself)
        sys.stdout.reconfigure(errors="backslashreplace")
    with stopping(f"{program}: {{}}; {interrupted}", owns_process, tidies, grace) as stop:
        try:
            with own_setting(), _temporary_folder(stop):
                stop.outcome = job() or 0
                return stop.outcome
        except BaseException as error:
            status = stop.status_of(error)
            if status is not None:
                if stop.owns_process:
                    end_children()
                stop.say()
                return status
            if isinstance(error, ModuleNotFoundError):
                error = ImportError(what_to_install(error))
            if not isinstance(error, ValueError | OSError | ImportError):
                raise
            print(f"{program}: error: {error}", file=sys.stderr)
            stop.outcome = 2
            return 2


@contextlib.contextmanager
def _temporary_folder(stop: Stop) -> Iterator[None]:
    """One for the whole process, if that is ours."""
    if not stop.owns_process or stop.folder is not None:
        yield
        return
    with temporary_folder() as stop.folder:
        yield


def named_files(
    arguments: Sequence[str],
    option: str = "--predictions",
    form: str = "NAME=FILE, such as mask_rcnn=a.json",
) -> dict[str, Path]:
    """`NAME=FILE` arguments as a dict, in order; `form` is what a faulty one should be like.

    Raises:
        ValueError: for a word without a name or a file, or a name given twice.
    """
    files: dict[str, Path] = {}
    for word in arguments:
        name, equals, file = word.partition("=")
        if not (equals and name.strip() and file):
            raise ValueError(f"{option} {word!r}: expected {form}")
        if name in files:
            raise ValueError(f"{option}: the name {name!r} is given twice; each needs its own")
        files[name] = Path(file)
    return files
