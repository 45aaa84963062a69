"""Read VinDr-CXR, or VinBigData of Kaggle, in their own layouts. No pixels are decoded.

    root/annotations/annotations_train.csv      VinDr-CXR (PhysioNet): a row per reader and box
    root/annotations/annotations_test.csv       its test part: the consensus of five readers
    root/train.csv                              VinBigData: the same training rows, with class_id
    root/**/50a418190bc3fb1ef1633bf9678929b3.dicom    images, or converted ones, in any folders
    root/train_meta.csv                         of resized copies: image_id, dim0, dim1

Columns: image_id, class_name, x_min, y_min, x_max, y_max, and rad_id in the training part, where
three of 17 readers read each image, each on their own. `No finding` (class_id 14) has no box.
`readers` says how they are joined: see `several_readers`. Nguyen et al., "VinDr-CXR", 2022.

Boxes are in pixels of the original image, 2,000 to 3,400 on a side: its size comes from columns
`width` and `height` or from train_meta.csv (dim0 is the height) where copies have them, else from
the header of the image file. All views are PA. Patients are not told, so each image is its own.
The six diagnoses without boxes (image_labels_*.csv) are not read.

Error: another layout; a finding without a box or `No finding` with one; a box outside of the frame;
    a box that leaves its image file where no original size is known.
Warning, counted (an error with `strict=True`): two sets of label files (VinDr-CXR is read); an
    equal duplicate box of one reader (one is kept); a box clipped to the frame; a reader who states
    `No finding` and a finding on one image (the finding counts).
Note, counted: readers and how they were joined; images that the asked reader did not read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from cxrloc.datasets.files.parse import naming
from cxrloc.datasets.labels.map import LabelMap
from cxrloc.datasets.radiograph import Box, Radiograph
from cxrloc.datasets.readers.box_sets.findings import BoxReader, NamedBox, diseases_of, label_map
from cxrloc.datasets.readers.box_sets.image_files import image_files
from cxrloc.datasets.readers.box_sets.original_sizes import Frame, frames, stated_sizes
from cxrloc.datasets.readers.box_sets.several_readers import (
    RULES,
    Drawn,
    joined,
    present,
    rule_or_reader,
)
from cxrloc.datasets.readers.csv_text import named_file, read_text_columns
from cxrloc.datasets.readers.index import DatasetIndex, ReaderWarnings

LAYOUTS: tuple[Mapping[str, str], ...] = (
    {"annotations_train.csv": "train_val", "annotations_test.csv": "test"},
    {"train.csv": "train_val"},
)
NO_FINDING = "No finding"
CONSENSUS = "consensus"
_CORNERS = ("x_min", "y_min", "x_max", "y_max")
_COLUMNS = ("image_id", "class_name", *_CORNERS)
_UNKNOWN_SIZE = (1, 1)


@dataclass
class _Image:
    """What the rows say about one image.

    Attributes:
        readers: all who read it.
        drawn: (reader, box) in the order of the file.
    """

    part: str
    readers: dict[str, None] = field(default_factory=dict)
    normal: dict[str, None] = field(default_factory=dict)
    drawn: list[tuple[str, NamedBox]] = field(default_factory=list)


def index(
    root: Path,
    *,
    label_file: Path | None = None,
    strict: bool = False,
    labels: str = "",
    readers: str = "",
) -> DatasetIndex:
    """Index VinDr-CXR or VinBigData; the module's docstring says how faults are treated.

    Args:
        root: folder with the images.
        label_file: one label file, or the folder of both, where it is not in `root`.
        labels: YAML file, names of the set -> diseases; without it the set's own, in NIH's
            spelling.
        readers: union, majority (default), wbf, or one reader such as R8.

    Raises:
        FileNotFoundError: if `root` or the label file is missing.
        ValueError: for faults listed as errors, and for all warnings if `strict`.
    """
    warnings, rule = ReaderWarnings(strict), rule_or_reader(readers)
    files = _files(root, label_file, warnings)
    images: dict[str, _Image] = {}
    sizes: dict[str, tuple[int, int]] = {}
    sources = list(files)
    for path, part in files.items():
        table = _table(path)
        _add_rows(images, table, path, part)
        stated, metas = stated_sizes(table, path)
        sizes |= stated
        sources += [meta for meta in metas if meta not in sources]
    names = sorted({b.name for i in images.values() for _, b in i.drawn}, key=str.casefold)
    asked = label_map(labels, names, warnings)
    images = _asked_readers(images, rule, warnings)
    paths = image_files(root).find([f"{image}.dicom" for image in images], warnings)
    place = frames(list(images), paths, sizes, warnings)
    join = _Joiner(rule, asked, tuple(names), BoxReader(asked, warnings))
    with naming(", ".join(map(str, files))):
        radiographs = [
            join.radiograph(name, image, path, frame)
            for (name, image), path, frame in zip(images.items(), paths, place, strict=True)
        ]
    _note(images, radiographs, rule, warnings)
    official = {name: image.part for name, image in images.items() if image.part}
    diseases = diseases_of(asked, names)
    return DatasetIndex(radiographs, official, warnings, tuple(sources), diseases, diseases)


def _files(root: Path, asked: Path | None, warnings: ReaderWarnings) -> dict[Path, str]:
    """Label file -> its part."""
    known = {name: part for layout in LAYOUTS for name, part in layout.items()}
    folder = root if asked is None else asked if asked.is_dir() else named_file(root, asked)
    if folder.is_file():
        return {folder: known.get(folder.name, "")}
    below = (folder / "annotations", folder)
    found = [
        {f / name: part for f in below for name, part in layout.items() if (f / name).is_file()}
        for layout in LAYOUTS
    ]
    first, *others = [files for files in found if files] or [{}]
    if not first:
        raise FileNotFoundError(
            f"no label file in {folder}; expected annotations/annotations_train.csv and "
            "annotations_test.csv (VinDr-CXR), or train.csv (VinBigData). Where they lie elsewhere "
            "than the images, name them with --label-file"
        )
    warnings.warn(
        f"label files besides {next(iter(first)).name}, which is read; choose with --label-file",
        [path.name for files in others for path in files],
    )
    return first


def _table(path: Path) -> pd.DataFrame:
    table = read_text_columns(path)
    table.columns = table.columns.str.strip()
    missing = [name for name in _COLUMNS if name not in table]
    if missing:
        raise ValueError(f"{path} has no column {missing}; its header is {list(table.columns)}")
    if table.empty:
        raise ValueError(f"{path} has a header but no rows; is the copy complete?")
    return pd.DataFrame({name: table[name].str.strip() for name in table})


def _add_rows(images: dict[str, _Image], table: pd.DataFrame, path: Path, part: str) -> None:
    with_readers = table if "rad_id" in table else table.assign(rad_id=CONSENSUS)
    rows = with_readers[["rad_id", *_COLUMNS]].itertuples(index=False)
    for number, (reader, image_id, name, *corners) in enumerate(rows, start=1):
        where = f"{path}, data row {number} ({image_id})"
        if not image_id or not reader:
            raise ValueError(f"{where}: no image_id or rad_id")
        image = images.setdefault(image_id, _Image(part))
        if image.part != part:
            raise ValueError(f"{where}: the image is in {image.part}, too; keep its rows in one")
        image.readers[reader] = None
        box = _box(name, corners, where)
        if box is None:
            image.normal[reader] = None
        else:
            image.drawn.append((reader, box))


def _box(name: str, corners: Sequence[str], where: str) -> NamedBox | None:
    blank = [text.lower() in ("", "nan") for text in corners]
    if name.casefold() == NO_FINDING.casefold():
        # copies for training write 0, 0, 1, 1 where the original leaves the fields empty
        if all(blank) or corners in (["0", "0", "1", "1"], ["0.0", "0.0", "1.0", "1.0"]):
            return None
        raise ValueError(f"{where}: {name} with a box {list(corners)}, expected empty fields")
    try:
        x1, y1, x2, y2 = (float(text) for text in corners)
    except ValueError as error:
        raise ValueError(
            f"{where}: {name} with {', '.join(_CORNERS)} {list(corners)}; expected four numbers"
        ) from error
    return NamedBox(name, (x1, y1, x2, y2), where)


def _asked_readers(
    images: dict[str, _Image], rule: str, warnings: ReaderWarnings
) -> dict[str, _Image]:
    """All images with all readers for a rule, or one reader's images with that reader alone."""
    both = [
        f"{name} {reader}"
        for name, image in images.items()
        for reader in dict.fromkeys(reader for reader, _ in image.drawn)
        if reader in image.normal
    ]
    warnings.warn("readers who state a finding and No finding; the finding counts", both)
    if rule in RULES:
        return images
    everyone = dict.fromkeys(reader for image in images.values() for reader in image.readers)
    if rule not in everyone:
        raise ValueError(f"--readers {rule}: no such reader; the files have {', '.join(everyone)}")
    others = [name for name, image in images.items() if rule not in image.readers]
    warnings.note(f"images that {rule} did not read, left out", others)
    return {
        name: _Image(image.part, {rule: None}, {}, [d for d in image.drawn if d[0] == rule])
        for name, image in images.items()
        if rule in image.readers
    }


@dataclass(frozen=True)
class _Joiner:
    """Makes a radiograph of what an image's readers said."""

    rule: str
    labels: LabelMap
    names: tuple[str, ...]
    reader: BoxReader

    def radiograph(
        self, name: str, image: _Image, path: Path | None, frame: Frame | None
    ) -> Radiograph:
        size_hw = _UNKNOWN_SIZE if frame is None else frame.size_hw
        by_reader = {} if frame is None else self._boxes(image, frame)
        said = self._said(image)
        labels = {
            disease: float(present(self.rule, said.get(disease, ()), image.readers))
            for disease in diseases_of(self.labels, self.names)
        }
        return Radiograph(
            image_id=name,
            path=None if frame is None else path,
            patient_id=name,
            patient_known=False,
            view="PA",
            labels=labels,
            boxes=self._joined(by_reader, image),
            size_hw=size_hw,
        )

    def _boxes(self, image: _Image, frame: Frame) -> dict[str, tuple[Box, ...]]:
        """Reader -> boxes in the frame, under the diseases' names."""
        return {
            reader: self.reader.boxes(
                [frame.place(box) for who, box in image.drawn if who == reader], frame.size_hw
            )
            for reader in image.readers
        }

    def _joined(self, by_reader: Mapping[str, Sequence[Box]], image: _Image) -> tuple[Box, ...]:
        drawn: dict[str, list[Drawn]] = {}
        for reader, boxes in by_reader.items():
            for box in boxes:
                drawn.setdefault(box.disease, []).append(Drawn(reader, box.box_xyxy))
        return tuple(
            Box(disease, box)
            for disease, of_disease in drawn.items()
            for box in joined(self.rule, of_disease, image.readers)
        )

    def _said(self, image: _Image) -> dict[str, set[Any]]:
        """Disease -> readers who drew a box of it."""
        said: dict[str, set[Any]] = {}
        for reader, box in image.drawn:
            disease = self.labels.disease(box.name)
            if disease is not None:
                said.setdefault(disease, set()).add(reader)
        return said


def _note(
    images: Mapping[str, _Image],
    radiographs: Sequence[Radiograph],
    rule: str,
    warnings: ReaderWarnings,
) -> None:
    drawn = sum(len(image.drawn) for image in images.values())
    kept = sum(len(r.boxes) for r in radiographs)
    if rule in RULES:
        warnings.note(
            f"boxes drawn by the readers, joined by {rule}", [f"{kept:,} boxes of {drawn:,}"], drawn
        )
    unknown = [r.image_id for r in radiographs if r.size_hw == _UNKNOWN_SIZE and r.path is None]
    warnings.note("images whose size is unknown, without their boxes", unknown)
