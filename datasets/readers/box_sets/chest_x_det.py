"""Read ChestX-Det and ChestX-Det10 in their own layout. No pixels are read.

    root/ChestX_Det_train.json, ChestX_Det_test.json    ChestX-Det: boxes, polygons, 13 findings
    root/train.json, test.json                          ChestX-Det10: boxes, 10 findings
    root/**/36199.png                                   its images, in any folders below root
    root/**/00000003_003.png                            or NIH's own copies of them

A file is a list of `{"file_name", "syms", "boxes", "polygons"}`: the i-th finding, its box x1, y1,
x2, y2 and its outline. Everything is in NIH's 1024 x 1024 frame. An image without findings was read
and is normal for these findings. Lian et al., "A Structure-Aware Relation Network for Thoracic
Diseases Detection and Segmentation", 2021; Liu, Lian and Yu, "ChestX-Det10", 2020.

The images are NIH's under new names, so patients are NIH's, and NIH's copies are found where the
set's own are absent. 35 images of ChestX-Det are not in the public lists: their patient is unknown.
`official` is the set's own split, which is not by patient: 271 of 429 patients of the test part are
in the train part too. Use folds.

Error: another layout; lists of different lengths; an unknown finding; an image listed twice; a box
    without a size or outside of the frame.
Warning, counted (an error with `strict=True`): only one of the two files; an equal duplicate box
    (one is kept); an outline of fewer than three points (the box is kept).
Note, counted: patients in both parts; images whose patient is unknown; images that NIH's copy
    stands in for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NotRequired

from typing_extensions import TypedDict

from cxrloc.datasets.files.checked import Finite, Name, Text, checked
from cxrloc.datasets.files.parse import naming, read_json
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.datasets.readers.box_sets.findings import (
    BoxReader,
    NamedBox,
    disease_labels,
    diseases_of,
    flat,
    label_map,
)
from cxrloc.datasets.readers.box_sets.image_files import ImageFiles, bare_stem, image_files
from cxrloc.datasets.readers.box_sets.nih_names.lookup import nih_image_of_chestx_det, nih_patient
from cxrloc.datasets.readers.csv_text import named_file
from cxrloc.datasets.readers.index import DatasetIndex, ReaderWarnings

FRAME_HW = (1024, 1024)
FINDINGS10: tuple[str, ...] = (
    "Atelectasis",
    "Calcification",
    "Consolidation",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Fracture",
    "Mass",
    "Nodule",
    "Pneumothorax",
)
FINDINGS: tuple[str, ...] = tuple(
    sorted((*FINDINGS10, "Cardiomegaly", "Diffuse Nodule", "Pleural Thickening"))
)
FILES = {"ChestX_Det_train.json": "train_val", "ChestX_Det_test.json": "test"}
FILES10 = {"train.json": "train_val", "test.json": "test"}
_NIH_NAME = re.compile(r"\d{8}_\d{3}")


def index(
    root: Path,
    *,
    label_file: Path | None = None,
    strict: bool = False,
    labels: str = "",
) -> DatasetIndex:
    """Index ChestX-Det; the module's docstring says how faults are treated.

    Args:
        root: folder with the images, ChestX-Det's or NIH's.
        label_file: one of the two files, or their folder, where it is not `root`.
        labels: YAML file, names of the set -> diseases; without it the set's own, in NIH's
            spelling.

    Raises:
        FileNotFoundError: if `root` or all label files are missing.
        ValueError: for faults listed as errors, and for all warnings if `strict`.
    """
    return _index(root, label_file, strict, labels, FILES, FINDINGS)


def index10(
    root: Path,
    *,
    label_file: Path | None = None,
    strict: bool = False,
    labels: str = "",
) -> DatasetIndex:
    """Index ChestX-Det10, as `index` does ChestX-Det."""
    return _index(root, label_file, strict, labels, FILES10, FINDINGS10)


def _index(
    root: Path,
    label_file: Path | None,
    strict: bool,
    labels: str,
    names: dict[str, str],
    findings: Sequence[str],
) -> DatasetIndex:
    warnings = ReaderWarnings(strict)
    asked = label_map(labels, findings, warnings)
    files = _files(root, label_file, names, warnings)
    entries = [
        (entry, part, f"{path}, entry {number}")
        for path, part in files.items()
        for number, entry in enumerate(_entries(path))
    ]
    reader = _EntryReader(BoxReader(asked, warnings), findings)
    _check_listed_once(entries)
    paths = _paths(image_files(root), [entry["file_name"] for entry, _, _ in entries], warnings)
    radiographs = [
        reader.radiograph(entry, path, where)
        for (entry, _, where), path in zip(entries, paths, strict=True)
    ]
    official = {
        r.image_id: part for r, (_, part, _) in zip(radiographs, entries, strict=True) if part
    }
    _note(radiographs, official, warnings)
    diseases = diseases_of(asked, findings)
    return DatasetIndex(radiographs, official, warnings, tuple(files), diseases, diseases)


def _files(
    root: Path, asked: Path | None, names: dict[str, str], warnings: ReaderWarnings
) -> dict[Path, str]:
    """Label file -> its part of the set's split, empty for a file under another name."""
    folder = root if asked is None else named_file(root, asked)
    if folder.is_file():
        return {folder: names.get(folder.name, "")}
    found = {folder / name: part for name, part in names.items() if (folder / name).is_file()}
    if not found:
        raise FileNotFoundError(
            f"no label file in {folder}; expected {' and '.join(names)} (the authors' repository). "
            "Where they lie elsewhere than the images, name their folder with --label-file"
        )
    missing = [name for name in names if folder / name not in found]
    warnings.warn("no label file of the other part", missing)
    return found


def _entries(path: Path) -> list[dict[str, Any]]:
    entries = read_json(path)
    needed = {"file_name", "syms", "boxes"}
    for number, entry in enumerate(entries if isinstance(entries, list) else [entries]):
        if not isinstance(entry, dict) or not needed <= entry.keys():
            keys = list(entry) if isinstance(entry, dict) else type(entry).__name__
            raise ValueError(
                f"{path}, entry {number}: expected an object with file_name, syms and boxes, got "
                f"{keys}; is it a file of ChestX-Det?"
            )
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path}: expected a list with an object per image")
    for number, entry in enumerate(entries):
        checked(entry, _Entry, f"{path}, entry {number}", "is it a file of ChestX-Det?")
    return entries


class _Entry(TypedDict):
    file_name: Name
    syms: list[Text]
    boxes: list[list[Finite]]
    polygons: NotRequired[list[list[list[Finite]]]]


def _check_listed_once(entries: Sequence[tuple[dict[str, Any], str, str]]) -> None:
    seen: dict[str, str] = {}
    for entry, _, where in entries:
        name = str(entry["file_name"])
        if seen.setdefault(name, where) != where:
            raise ValueError(f"{where}: image {name} is listed in {seen[name]}, too; keep one")


def nih_name(name: str) -> str | None:
    """NIH's name of an image; the first lists of ChestX-Det10 had NIH's names themselves."""
    return name if _NIH_NAME.fullmatch(bare_stem(name)) else nih_image_of_chestx_det(name)


def _paths(files: ImageFiles, names: Sequence[str], warnings: ReaderWarnings) -> list[Path | None]:
    """The set's own file of each image, or else NIH's."""
    own = files.find(names, warnings)
    copies = files.find([nih_name(name) or name for name in names], warnings)
    stand_in = [n for n, path, copy in zip(names, own, copies, strict=True) if copy and not path]
    warnings.note("images read from NIH's copies", stand_in)
    return [path or copy for path, copy in zip(own, copies, strict=True)]


class _EntryReader:
    """Converts the entries of the label files."""

    def __init__(self, boxes: BoxReader, findings: Sequence[str]) -> None:
        self.boxes, self.findings = boxes, findings

    def radiograph(self, entry: dict[str, Any], path: Path | None, where: str) -> Radiograph:
        name = str(entry["file_name"])
        where = f"{where} ({name})"
        drawn = self._drawn(entry, where)
        with naming(where):
            return self._of(name, path, drawn)

    def _of(self, name: str, path: Path | None, drawn: Sequence[NamedBox]) -> Radiograph:
        nih = nih_name(name)
        return Radiograph(
            image_id=name,
            path=path,
            patient_id=name if nih is None else nih_patient(nih),
            patient_known=nih is not None,
            view="",
            labels=disease_labels(self.boxes.labels, self.findings, {box.name for box in drawn}),
            boxes=self.boxes.boxes(drawn, FRAME_HW),
            size_hw=FRAME_HW,
        )

    def _drawn(self, entry: dict[str, Any], where: str) -> list[NamedBox]:
        names, boxes = entry["syms"], entry["boxes"]
        outlines = entry.get("polygons", [[]] * len(names))
        if not len(names) == len(boxes) == len(outlines):
            raise ValueError(
                f"{where}: {len(names)} syms, {len(boxes)} boxes and {len(outlines)} polygons; "
                "expected one of each per finding"
            )
        unknown = [name for name in names if name not in self.findings]
        if unknown:
            raise ValueError(
                f"{where}: unknown finding {unknown[0]!r}; expected {', '.join(self.findings)}"
            )
        return [
            self._box(name, box, outline, where)
            for name, box, outline in zip(names, boxes, outlines, strict=True)
        ]

    def _box(self, name: str, box: Sequence[float], outline: Any, where: str) -> NamedBox:
        if len(box) != 4 or not all(isinstance(value, int | float) for value in box):
            raise ValueError(f"{where}: box {box} of {name}, expected four numbers x1, y1, x2, y2")
        x1, y1, x2, y2 = map(float, box)
        if outline and len(outline) < 3:
            self.boxes.warnings.warn("outlines of fewer than three points", [f"{where}, {name}"])
        polygons = (flat(outline),) if len(outline) >= 3 else ()
        return NamedBox(name, (x1, y1, x2, y2), where, polygons)


def _note(
    radiographs: Sequence[Radiograph], official: dict[str, str], warnings: ReaderWarnings
) -> None:
    unknown = [r.image_id for r in radiographs if not r.patient_known]
    warnings.note("images whose NIH name, and so patient, is not public", unknown)
    parts: dict[str, set[str]] = {}
    for r in radiographs:
        if r.patient_known and r.image_id in official:
            parts.setdefault(r.patient_id, set()).add(official[r.image_id])
    both = [patient for patient, of in parts.items() if len(of) > 1]
    warnings.note("patients in both parts of the set's own split; split by folds", both)
