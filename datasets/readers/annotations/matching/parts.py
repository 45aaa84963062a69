"""Turn train, valid and test, as folders and files of splits name them, into official lists."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from cxrloc.datasets.readers.index import ReaderWarnings

TRAIN, VALID, TEST = "train", "valid", "test"
_WORD = re.compile(r"(train|training|trainval|val|valid|validation|dev|test|testing)(?:20\d\d)?")
_PART = {"training": TRAIN, "trainval": TRAIN, "val": VALID, "validation": VALID, "dev": VALID}
_PART |= {"testing": TEST}


def part_of_word(word: str) -> str:
    """train, valid or test for a word such as `val2017`; empty for any other."""
    match = _WORD.fullmatch(word.strip().lower())
    return _PART.get(match[1], match[1]) if match else ""


def part_of_path(path: str) -> str:
    """The part that a folder of the path names, the first one; empty if none does."""
    folders = PurePosixPath(path.replace("\\", "/")).parts[:-1]
    return next(filter(None, map(part_of_word, folders)), "")


def official_lists(part_of: Mapping[str, str], warnings: ReaderWarnings) -> dict[str, str]:
    """Image -> train_val or test.

    Args:
        part_of: image -> train, valid, test or empty. Without a test part, valid is the test.
    """
    parts = set(part_of.values()) - {""}
    tests = {TEST} if TEST in parts else {VALID}
    if not parts & tests or not parts - tests:
        return {}
    if TEST not in parts:
        warnings.note("no test part; valid is the test", [VALID])
    official = {i: "test" if part in tests else "train_val" for i, part in part_of.items() if part}
    warnings.warn("images in no part of the split", [i for i in part_of if i not in official])
    return official
