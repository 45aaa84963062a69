"""Find the files of listed images: one scan of the folders, never a stat an image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cxrloc.datasets.counted_warnings import CountedWarnings
from cxrloc.datasets.image_files import IMAGE_SUFFIXES


def find_images(root: Path, ids: Sequence[str], warnings: CountedWarnings) -> list[Path | None]:
    """Absolute path of each listed image under `root`, None where there is no file.

    Looked for in `root/images`, `root/images_001/images` (or `root/images_001`) and so on, and `root`.
    The listed name is preferred, then the same stem with another image ending in upper or lower case,
    JPEG before PNG (people keep re-encoded copies). Hidden files are passed over.
    """
    by_name: dict[str, str] = {}
    by_stem: dict[str, str] = {}
    twice: list[str] = []
    for folder in _folders(root):
        for name in _image_names(folder):
            if name in by_name:
                twice.append(name)
                continue
            by_name[name] = path = f"{folder}{os.sep}{name}"
            stem, suffix = os.path.splitext(name)
            if stem not in by_stem or suffix.lower() != ".png":
                by_stem[stem] = path
    warnings.warn("images in two folders; the first is taken", sorted(twice))
    found = (by_name.get(i) or by_stem.get(os.path.splitext(i)[0]) for i in ids)
    return [Path(path) if path else None for path in found]


def _folders(root: Path) -> list[str]:
    """Existing folders to look in, absolute, in order of preference."""
    numbered = sorted(path for path in root.glob("images_*") if path.is_dir())
    nested = [folder for path in numbered for folder in (path / "images", path)]
    candidates = [root / "images", *nested, root]
    return [os.path.abspath(path) for path in candidates if path.is_dir()]


def _image_names(folder: str) -> list[str]:
    """Names of image files, sorted because the order of a directory differs between machines."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    return sorted(n for n in names if n.lower().endswith(IMAGE_SUFFIXES) and not n.startswith("."))
