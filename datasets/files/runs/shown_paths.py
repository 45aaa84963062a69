"""How paths are written into manifests and reports: from the folder that the file is in.

Folders may be named after patients, and a manifest goes wherever its results go. `--full-paths`
keeps paths as they are.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

_full: ContextVar[bool] = ContextVar("full_paths", default=False)

# settings that name files and folders, where they are given as text
_SETTINGS = frozenset(
    [
        *("annotations", "boxes", "cache", "cam_rules", "gate", "ground_truth", "image_list"),
        *("label_file", "labels", "maps", "maskrcnn", "predictions", "prepared", "root", "runs"),
        *("second_reader", "segmentations", "shards"),
    ]
)


@contextlib.contextmanager
def own_setting() -> Iterator[None]:
    """Within, `keep_full_paths` holds; afterwards it is as before."""
    token = _full.set(_full.get())
    try:
        yield
    finally:
        _full.reset(token)


def keep_full_paths() -> None:
    """Write paths as they are, from now on."""
    _full.set(True)


def as_text(name: str) -> str:
    """A file's name or path for files and terminals: bytes that are no UTF-8 become \\xff."""
    try:
        return os.fsencode(name).decode(errors="backslashreplace")
    except UnicodeEncodeError:  # half of a surrogate pair, of which no file can be named
        return name.encode(errors="backslashreplace").decode()


def shown_path(path: Path | str, folder: Path) -> str:
    """A path as a file in `folder` tells it."""
    return as_text(str(path) if _full.get() else os.path.relpath(path, folder))


def shown_settings(value: Any, folder: Path, key: str = "") -> Any:
    """Settings with their paths as `shown_path` writes them.

    Args:
        value: mappings, lists and plain values, nested.
        folder: of the file that will hold them.
        key: the setting's name.
    """
    if isinstance(value, Path):
        shown = shown_path(value, folder)
        return Path(shown) if _full.get() else shown
    if isinstance(value, Mapping):
        return {k: shown_settings(v, folder, str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [shown_settings(each, folder, key) for each in value]
    if not isinstance(value, str):
        return value
    if _full.get():
        return as_text(value)
    if "=" in value and "," in value:  # NAME=FOLDER,NAME=FOLDER
        return ",".join(shown_settings(each, folder, key) for each in value.split(","))
    name, equals, path = value.rpartition("=")
    return as_text(name + equals + os.path.relpath(path, folder) if _is_path(path, key) else value)


def shown_name(name: str, folder: Path) -> str:
    """The name of an input, which may be its path."""
    is_path = os.path.isabs(name) or (os.sep in name and os.path.exists(name))
    return shown_path(name, folder) if is_path else as_text(name)


def shown_command(words: Sequence[str], folder: Path) -> list[str]:
    """A command as it was typed, its absolute paths as `shown_path` writes them."""
    return [shown_settings(word, folder) for word in words]


def _is_path(word: str, key: str) -> bool:
    """Whether it is an absolute path on this disk, or what a setting of files and folders names."""
    if not word or "://" in word:
        return False
    if os.path.isabs(word) and len(Path(word).parts) > 2 and os.path.exists(os.path.dirname(word)):
        return True
    if key == "weights":  # or a word, such as imagenet
        return os.path.isfile(word)
    return key == "out" or (key in _SETTINGS and os.path.exists(word))
