"""A folder of images 200 pixels wide and 100 high, as annotation tools leave it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from builders import write_image

Folder = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Writes images and text files, all below one root: `folder("images/a.png", {"x.txt": ""})`."""

    def build(*entries: str | dict[str, str]) -> Path:
        root = tmp_path / "root"
        for number, entry in enumerate(entries):
            if isinstance(entry, str):  # each of its own grey, so that no two are copies
                write_image(root / entry, 50 + number, (100, 200), corner=0)
                continue
            for name, text in entry.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text, encoding="utf-8")
        return root

    return build
