"""Read boxes in YOLO's form: one text file per image, its lines `class x_center y_center w h`.

    root/data.yaml (or classes.txt, obj.names, _darknet.labels)     the names of the classes
    root/images/train/*.png, root/labels/train/*.txt ...            or
    root/train/images/*.png, root/train/labels/*.txt ...            or both in one folder

Ultralytics, Roboflow, CVAT and Label Studio write it. Numbers are shares of the image. A longer
line is an outline, `class x1 y1 x2 y2 ...`; its box is the one around it. An image with an empty
label file, or without one in a folder that has them, is background: it was looked at. Images in a
folder without any label file are left out. Parts: `train`, `val`, `test` in data.yaml, lists of
that name, or folders.

Error: no names of the classes; a class that they do not list; a line with another number of columns
    (six are a prediction with its confidence); a number outside of 0 to 1; keypoints.
Warning, counted: label files without an image (left out).
`matching/to_index.py` says how other faults are treated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cxrloc.datasets.files.parse import read_text
from cxrloc.datasets.readers.annotations.matching.annotated import (
    AnnotatedImage,
    Annotations,
    DrawnBox,
)
from cxrloc.datasets.readers.annotations.matching.files import (
    image_files,
    without_upload,
)
from cxrloc.datasets.readers.annotations.matching.to_index import Choices, to_index
from cxrloc.datasets.readers.annotations.where import below
from cxrloc.datasets.readers.annotations.yolo_names import YoloFolder, read_yolo_folder
from cxrloc.datasets.readers.find_images import copy_rank, stem_of
from cxrloc.datasets.readers.index import DatasetIndex, ReaderWarnings

_ROUNDING = 1e-3
_NOT_LABELS = ("classes", "train", "val", "valid", "test", "obj", "requirements")


def index(
    root: Path,
    *,
    label_file: Path | None = None,
    strict: bool = False,
    annotations: str = "",
    labels: str = "",
    patient: str = "",
    unboxed: str = "",
) -> DatasetIndex:
    """Index a folder of images with label files; the docstrings say how faults are treated.

    Args:
        label_file: another name of `annotations`.
        annotations: data.yaml or another file of names, or the folder of the label files.
        labels, patient, unboxed: see `Choices`.
    """
    warnings, choices = ReaderWarnings(strict), Choices.of(labels, patient, unboxed)
    asked = Path(annotations) if annotations else label_file
    root = root.absolute()
    paths = image_files(root, warnings)
    yolo = read_yolo_folder(root, asked)
    texts = _LabelFiles.below(dict.fromkeys((*yolo.label_folders, root)))
    folders = texts.folders_of(paths, yolo.label_folders)
    images, used = [], []
    for path in _one_per_stem(paths):
        folder = folders[path.parent]
        if folder is None:
            continue
        file = texts.of(folder, stem_of(path.name))
        used += [] if file is None else [file]
        images.append(_image(root, path, file, yolo))
    if not images:
        raise FileNotFoundError(
            f"no label file for any of the {len(paths):,} images below {root}; expected "
            f"{paths[0].stem}.txt beside it, or in labels/ beside images/, or the folder of the "
            "label files as --annotations"
        )
    idle = sorted(set(texts.files.values()) - set(used))
    warnings.warn("label files without an image, left out", [path.name for path in idle])
    found = Annotations(tuple(images), yolo.names, (*yolo.sources, *used))
    return to_index(root, found, choices, warnings, paths)


@dataclass(frozen=True)
class _LabelFiles:
    """Label files by folder and stem."""

    files: Mapping[tuple[Path, str], Path]

    @classmethod
    def below(cls, folders: Sequence[Path] | Mapping[Path, None]) -> _LabelFiles:
        paths = dict.fromkeys(path for folder in folders for path in below(folder, ".txt"))
        labels = [p for p in paths if p.stem.lower() not in _NOT_LABELS and p.name[0] != "_"]
        return cls({(path.parent, path.stem): path for path in labels})

    def of(self, folder: Path, stem: str) -> Path | None:
        """The label file of an image; Label Studio puts a number before the name."""
        return self.files.get((folder, stem)) or self.uploaded.get((folder, stem))

    @cached_property
    def uploaded(self) -> dict[tuple[Path, str], Path]:
        """Label files by folder and by what the stem was before an upload."""
        return {(folder, without_upload(stem)): path for (folder, stem), path in self.files.items()}

    def folders_of(self, images: Iterable[Path], given: Sequence[Path]) -> dict[Path, Path | None]:
        """Folder of images -> the folder of their label files; None if no folder has any."""
        folders = {folder for folder, _ in self.files}
        return {
            place: next((f for f in _candidates(place, given) if f in folders), None)
            for place in dict.fromkeys(image.parent for image in images)
        }


def _candidates(images: Path, given: Sequence[Path]) -> Iterator[Path]:
    """Folders that may hold the labels of the images in a folder."""
    parts = images.parts
    for i in reversed(range(len(parts))):
        if parts[i].lower() == "images":
            yield Path(*parts[:i], "labels", *parts[i + 1 :])
    yield from (folder / images.name for folder in given)
    yield from given
    yield images


def _one_per_stem(paths: Sequence[Path]) -> list[Path]:
    """Of one image in several formats, which share a label file, the first: JPEG, PNG, DICOM."""
    best: dict[tuple[Path, str], Path] = {}
    for path in sorted(paths, key=lambda path: (copy_rank(path.name), path)):
        best.setdefault((path.parent, stem_of(path.name)), path)
    return sorted(best.values())


def _image(root: Path, path: Path, file: Path | None, yolo: YoloFolder) -> AnnotatedImage:
    lines = [] if file is None else read_text(file).splitlines()
    boxes = [
        _box(line.split(), f"{file}, line {number}", yolo.names)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    return AnnotatedImage(
        name=path.relative_to(root).as_posix(),
        where=str(file or path),
        boxes=tuple(boxes),
        shares=True,
        part=yolo.part_of(path),
        folder=path.parent,
        path=path,
    )


def _box(columns: Sequence[str], where: str, names: Sequence[str]) -> DrawnBox:
    try:
        numbers = [float(text) for text in columns]
    except ValueError as error:
        raise ValueError(f"{where}: {error!s:.200}; expected class x_center y_center w h") from None
    name = _class(numbers[0], names, where)
    coordinates = numbers[1:]
    if len(coordinates) == 5:
        raise ValueError(
            f"{where}: six columns; the last looks like the confidence of a prediction. Annotations"
            " have five: class x_center y_center w h"
        )
    if len(coordinates) != 4 and (len(coordinates) < 6 or len(coordinates) % 2):
        raise ValueError(
            f"{where}: {len(columns)} columns; expected class x_center y_center w h, or class and "
            "x, y of at least three points"
        )
    outside = [v for v in coordinates if not -_ROUNDING <= v <= 1 + _ROUNDING]
    if outside:
        raise ValueError(
            f"{where}: {name}: {outside[0]:g} is outside of 0 to 1; expected shares of the image's "
            "width and height"
        )
    if len(coordinates) == 4:
        x, y, w, h = coordinates
        return DrawnBox(name, (x - w / 2, y - h / 2, x + w / 2, y + h / 2), where)
    xs, ys = coordinates[::2], coordinates[1::2]
    return DrawnBox(name, (min(xs), min(ys), max(xs), max(ys)), where, (tuple(coordinates),))


def _class(number: float, names: Sequence[str], where: str) -> str:
    if not 0 <= number < len(names) or number != int(number):  # NaN, too
        listed = ", ".join(f"{i} {name}" for i, name in enumerate(names))
        raise ValueError(f"{where}: class {number:g}, expected one of {listed}")
    return names[int(number)]
