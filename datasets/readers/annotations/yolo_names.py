"""Read data.yaml, or what older tools write in its place: names of classes, parts of the split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxrloc.datasets.files.checked import LONGEST_NAME
from cxrloc.datasets.files.parse import read_text, read_yaml
from cxrloc.datasets.readers.annotations.matching.parts import TEST, TRAIN, VALID
from cxrloc.datasets.readers.annotations.where import below, only_one
from cxrloc.datasets.readers.find_images import stem_of

_LISTS = ("classes.txt", "obj.names", "_darknet.labels", "predefined_classes.txt")
_PARTS = {"train": TRAIN, "val": VALID, "valid": VALID, "validation": VALID, "test": TEST}


@dataclass(frozen=True)
class YoloFolder:
    """What the files say about the folder.

    Attributes:
        names: of the classes, by number.
        sources: the files that were read.
        label_folders: folders given for the label files.
        folders: folder of images -> its part.
        listed: name of an image, without its ending -> its part.
    """

    names: tuple[str, ...]
    sources: tuple[Path, ...]
    label_folders: tuple[Path, ...] = ()
    folders: Mapping[Path, str] = field(default_factory=dict)
    listed: Mapping[str, str] = field(default_factory=dict)

    def part_of(self, image: Path) -> str:
        """train, valid or test as far as the files tell; else empty."""
        part = self.listed.get(stem_of(image.name), "")
        nearest = (self.folders[folder] for folder in image.parents if folder in self.folders)
        return part or next(nearest, "")


def read_yolo_folder(root: Path, asked: Path | None) -> YoloFolder:
    """Read the names and parts.

    Args:
        root: absolute folder of the images.
        asked: a file of names, or a folder with label files and perhaps such a file.

    Raises:
        FileNotFoundError: if there are no names of the classes.
        ValueError: for a file that does not list them, or describes keypoints.
    """
    given = None if asked is None else _existing(root, asked)
    folders = (given,) if given is not None and given.is_dir() else ()
    path = given if given is not None and given.is_file() else _names_file((*folders, root))
    if path.suffix.lower() in (".yaml", ".yml"):
        return _from_yaml(path, folders)
    names = [line.strip() for line in read_text(path).rstrip().splitlines()]
    listed, lists = _listed((path.parent / f"{word}.txt", part) for word, part in _PARTS.items())
    return YoloFolder(_checked(names, path), (path, *lists), folders, {}, listed)


def _existing(root: Path, asked: Path) -> Path:
    path = asked if asked.exists() else root / asked
    if not path.exists():
        raise FileNotFoundError(f"--annotations: no file or folder {asked}, here or below {root}")
    return path.absolute()


def _names_file(folders: Sequence[Path]) -> Path:
    """The file with the names: in one of the folders or above it, else anywhere below the last."""
    *given, root = folders
    for place in (*given, *(folder.parent for folder in given), root):
        files = [
            path for path in (place / "data.yaml", *sorted(place.glob("*.y*ml"))) if _is_names(path)
        ]
        files += [place / name for name in _LISTS if (place / name).is_file()]
        if files:
            return files[0]
    files = [path for path in (*below(root, ".yaml"), *below(root, ".yml")) if _is_names(path)]
    files = files or [path for name in _LISTS for path in sorted(root.rglob(name))]
    if len({path.read_bytes() for path in files}) == 1:  # Roboflow: the same one in each part
        return files[0]
    return only_one(files, root, "the names of the classes in data.yaml, classes.txt or obj.names")


def _is_names(path: Path) -> bool:
    return path.is_file() and "names" in _yaml(path)


def _yaml(path: Path) -> Mapping[str, Any]:
    content = read_yaml(path)
    return content if isinstance(content, dict) else {}


def _from_yaml(path: Path, label_folders: tuple[Path, ...]) -> YoloFolder:
    content = _yaml(path)
    if "kpt_shape" in content:
        raise ValueError(f"{path} describes keypoints; expected boxes or outlines")
    names = content.get("names")
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):
            raise ValueError(
                f"{path}: names has the keys {list(names)!s:.300}, expected 0, 1, 2, ..."
            )
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list):
        raise ValueError(f"{path}: names is {names!r}, expected a list of the classes' names")
    if content.get("nc", len(names)) != len(names):
        raise ValueError(f"{path}: nc is {content['nc']}, but there are {len(names)} names")
    folders: dict[Path, str] = {}
    lists: list[tuple[Path, str]] = []
    for word, part in _PARTS.items():
        for place in _places(path, content, content.get(word)):
            if place.is_dir():
                folders[place] = part
            elif place.is_file():
                lists.append((place, part))
    listed, read = _listed(lists)
    texts = ["" if name is None else str(name).strip() for name in names]
    return YoloFolder(_checked(texts, path), (path, *read), label_folders, folders, listed)


def _places(path: Path, content: Mapping[str, Any], written: object) -> Iterator[Path]:
    """Where a part is; Roboflow writes `../train/images` for the folder beside data.yaml."""
    base = path.parent / str(content.get("path") or "")
    for text in written if isinstance(written, list) else [written]:
        if isinstance(text, str) and text:
            inner = text.removeprefix("../").removeprefix("./")
            places = (base / text, path.parent / text, path.parent / inner)
            yield next((p.resolve() for p in places if p.exists()), base / text)


def _listed(
    lists: Sequence[tuple[Path, str]] | Iterator[tuple[Path, str]],
) -> tuple[dict[str, str], list[Path]]:
    """Stem -> part from lists of images, and the lists that there are."""
    parts: dict[str, str] = {}
    read = []
    for path, part in lists:
        if not path.is_file():
            continue
        read.append(path)
        for line in filter(None, map(str.strip, read_text(path).splitlines())):
            stem = stem_of(line.replace("\\", "/").rpartition("/")[2])
            if parts.setdefault(stem, part) != part:
                raise ValueError(f"{path}: {line} is in the part {parts[stem]}, too; keep one")
    return parts, read


def _checked(names: Sequence[str], path: Path) -> tuple[str, ...]:
    if not names or not all(0 < len(name) <= LONGEST_NAME for name in names):
        raise ValueError(f"{path}: expected the name of every class, got {list(names)!s:.300}")
    return tuple(names)
