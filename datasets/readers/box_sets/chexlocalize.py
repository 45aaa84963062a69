"""Read CheXlocalize: radiologists' outlines on CheXpert's validation and test images. No pixels.

    root/**/gt_annotations_val.json, gt_annotations_test.json    outlines as they were drawn
    root/**/patient64541/study1/view1_frontal.jpg                CheXpert's images
    root/**/val_labels.csv (or valid.csv), test_labels.csv       labels of all images (optional)

A file is `{image: {"img_size": [h, w], TASK: [[[x, y], ...], ...]}}` with an outline per finding,
so a disease may have several on an image: each is one box, the extent of its outline. The image
`patient64541_study1_view1_frontal` is the one in the folders patient64541/study1. CheXlocalize's
task `Airspace Opacity` is CheXpert's `Lung Opacity`. Outlines by the second group of radiologists
(hb_annotations_test.json) are read with `label_file`. Saporta et al., "Benchmarking saliency
methods for chest X-ray interpretation", 2022.

The files list images with a finding alone. The rest, and whether a disease is present, come from
the label files; without one of a part, its other images are left out and what is not outlined is
absent. CheXpert has no other public boxes with a fixed layout. cxrloc convert-chexlocalize makes
one box per disease of the masks that cheXlocalize's own scoring uses.

Error: another layout; an unknown task; an outline outside of the frame.
Warning, counted (an error with `strict=True`): no label file of a part; an outline of fewer than
    three points (left out); an outline partly outside of the frame (its box is clipped).
Note, counted: outlined diseases whose label is not 1 (the outline counts).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cxrloc.datasets.files.parse import read_json
from cxrloc.datasets.images.sizes import sizes_hw
from cxrloc.datasets.labels.names import CHEXPERT_LOCALIZED
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.datasets.readers.box_sets.findings import (
    BoxReader,
    NamedBox,
    diseases_of,
    flat,
    label_map,
)
from cxrloc.datasets.readers.csv_text import named_file, read_text_columns
from cxrloc.datasets.readers.index import DatasetIndex, ReaderWarnings

FILES = {"gt_annotations_val.json": "valid", "gt_annotations_test.json": "test"}
LABEL_FILES = {"valid": ("val_labels.csv", "valid.csv"), "test": ("test_labels.csv", "test.csv")}
_TASKS = {"Airspace Opacity": "Lung Opacity"}
_KEY = re.compile(r"(patient\d+)_(study\d+)_(view\d+_(frontal|lateral))")
_LABELS = {"1.0": 1.0, "0.0": 0.0, "1": 1.0, "0": 0.0}
_UNKNOWN_SIZE = (1, 1)


@dataclass(frozen=True)
class _Listed:
    """An image of a part, with what its files say."""

    key: str
    part: str
    outlines: Mapping[str, Any] | None
    labels: Mapping[str, float]
    where: str


def index(
    root: Path,
    *,
    label_file: Path | None = None,
    strict: bool = False,
    labels: str = "",
) -> DatasetIndex:
    """Index CheXlocalize; the module's docstring says how faults are treated.

    Args:
        root: folder with the images and the annotations, in any folders below.
        label_file: one file of annotations, to read instead of those below `root`.
        labels: YAML file, CheXpert's names of the ten diseases -> diseases; without it CheXpert's.

    Raises:
        FileNotFoundError: if `root` or the annotations are missing.
        ValueError: for faults listed as errors, and for all warnings if `strict`.
    """
    warnings = ReaderWarnings(strict)
    asked = label_map(labels, CHEXPERT_LOCALIZED, warnings, nih_names=False)
    files = _files(root, label_file)
    images, sources = _images(root), list(files)
    listed: list[_Listed] = []
    for path, part in files.items():
        table = _label_file(root, part, warnings)
        sources += [table] if table else []
        listed += _of_part(path, part, {} if table is None else _labels(table))
    reader = _OutlineReader(BoxReader(asked, warnings))
    radiographs = [reader.radiograph(image, images.get(image.key)) for image in listed]
    warnings.note("outlined diseases whose label is not 1", reader.unlabelled)
    official = {r.image_id: "test" for r in radiographs}
    diseases = diseases_of(asked, CHEXPERT_LOCALIZED)
    return DatasetIndex(radiographs, official, warnings, tuple(sources), diseases, diseases)


def _files(root: Path, asked: Path | None) -> dict[Path, str]:
    """Annotation file -> valid or test."""
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}; expected CheXpert's images and CheXlocalize")
    if asked is not None:
        path = named_file(root, asked)
        if not path.is_file():
            raise FileNotFoundError(f"no annotations {asked} or {root / asked}")
        return {path: "test" if "test" in path.name else "valid"}
    found = {path: FILES[path.name] for name in FILES for path in sorted(root.rglob(name))[:1]}
    if not found:
        raise FileNotFoundError(
            f"no {' or '.join(FILES)} below {root}; they are part of CheXlocalize's download. "
            "Where they lie elsewhere than the images, name one with --label-file"
        )
    return found


def _images(root: Path) -> dict[str, Path]:
    """patient64541_study1_view1_frontal -> its file; validation and test alone, not train."""
    files: dict[str, Path] = {}
    for path in sorted(root.absolute().rglob("view*.*")):
        key = "_".join((*path.parts[-3:-1], path.stem))
        if _KEY.fullmatch(key) and path.parts[-4] != "train":
            files.setdefault(key, path)
    return files


def _label_file(root: Path, part: str, warnings: ReaderWarnings) -> Path | None:
    names = LABEL_FILES[part]
    found = [path for name in names for path in sorted(root.rglob(name))]
    if not found:
        warnings.warn(
            "no label file of a part; its images without an outline are left out", [names[0]]
        )
    return found[0] if found else None


def _labels(path: Path) -> dict[str, dict[str, float]]:
    """Image -> the ten diseases, in the order of the file."""
    table = read_text_columns(path)
    table.columns = table.columns.str.strip()
    missing = [name for name in ("Path", *CHEXPERT_LOCALIZED) if name not in table]
    if missing:
        raise ValueError(f"{path} has no column {missing}; its header is {list(table.columns)}")
    images = {}
    for number, row in enumerate(table.to_dict("records"), start=1):
        parts = PurePosixPath(str(row["Path"]).strip()).with_suffix("").parts
        key = "_".join(parts[-3:])
        values = {name: str(row[name]).strip() for name in CHEXPERT_LOCALIZED}
        wrong = [name for name, value in values.items() if value not in _LABELS]
        if not _KEY.fullmatch(key) or wrong:
            what = f"{wrong[0]} is {values[wrong[0]]!r}" if wrong else f"path {row['Path']!r}"
            raise ValueError(
                f"{path}, data row {number}: {what}; expected 1.0 or 0.0, and a path such as "
                "valid/patient64541/study1/view1_frontal.jpg"
            )
        images[key] = {name: _LABELS[value] for name, value in values.items()}
    return images


def _of_part(path: Path, part: str, labels: Mapping[str, Mapping[str, float]]) -> list[_Listed]:
    outlined = _annotations(path)
    keys = dict.fromkeys((*labels, *outlined))
    return [
        _Listed(key, part, outlined.get(key), labels.get(key, {}), f"{path}, {key}") for key in keys
    ]


def _annotations(path: Path) -> dict[str, dict[str, Any]]:
    images = read_json(path)
    if not isinstance(images, dict) or not images:
        raise ValueError(f"{path}: expected an object {{image: {{task: outlines}}}}")
    for key, tasks in images.items():
        if not _KEY.fullmatch(key):
            raise ValueError(
                f"{path}: image {key!r}, expected a name such as patient64541_study1_view1_frontal"
            )
        size = tasks.get("img_size") if isinstance(tasks, dict) else None
        if not (isinstance(size, list) and len(size) == 2 and min(map(int, size)) > 0):
            raise ValueError(
                f"{path}: {key} has img_size {size!r}, expected [h, w]; is it a file of "
                "segmentations? Read gt_annotations_*.json"
            )
    return images


class _OutlineReader:
    """Makes radiographs, and collects outlined diseases that are not labelled."""

    def __init__(self, boxes: BoxReader) -> None:
        self.boxes, self.unlabelled = boxes, list[str]()

    def radiograph(self, image: _Listed, path: Path | None) -> Radiograph:
        patient, study, view = _parts(image.key)
        outlines = image.outlines or {}
        height, width = map(int, outlines.get("img_size", _size(path)))
        drawn = self._drawn(outlines, image.where)
        ending = ".jpg" if path is None else path.suffix
        return Radiograph(
            image_id=f"{image.part}/{patient}/{study}/{view}{ending}",
            path=path,
            patient_id=patient,
            study_id=f"{image.part}/{patient}/{study}",
            view="Lateral" if view.endswith("lateral") else "Frontal",
            labels=self._labels(image, {box.name for box in drawn}),
            boxes=self.boxes.boxes(drawn, (height, width)),
            size_hw=(height, width),
        )

    def _labels(self, image: _Listed, outlined: set[str]) -> dict[str, float]:
        unlike = [n for n in sorted(outlined) if image.labels.get(n, 1.0) != 1]
        self.unlabelled += [f"{image.key} {name}" for name in unlike]
        merged = dict.fromkeys(diseases_of(self.boxes.labels, CHEXPERT_LOCALIZED), 0.0)
        for name in CHEXPERT_LOCALIZED:
            disease = self.boxes.labels.disease(name)
            if disease is not None and (name in outlined or image.labels.get(name) == 1):
                merged[disease] = 1.0
        return merged

    def _drawn(self, tasks: Mapping[str, Any], where: str) -> list[NamedBox]:
        drawn = []
        for task, outlines in tasks.items():
            if task == "img_size":
                continue
            name = _TASKS.get(task, task)
            if name not in CHEXPERT_LOCALIZED:
                raise ValueError(
                    f"{where}: unknown task {task!r}; expected {', '.join(CHEXPERT_LOCALIZED)}"
                )
            for points in outlines:
                if len(points) < 3:
                    self.boxes.warnings.warn(
                        "outlines of fewer than three points, left out", [f"{where}, {name}"]
                    )
                    continue
                drawn.append(_outlined(name, points, where))
        return drawn


def _outlined(name: str, points: Sequence[Sequence[float]], where: str) -> NamedBox:
    polygon = flat(points)
    across, down = polygon[::2], polygon[1::2]
    if len(polygon) != 2 * len(points) or not all(map(math.isfinite, polygon)):
        raise ValueError(f"{where}: an outline of {name} is not a list of [x, y]")
    return NamedBox(name, (min(across), min(down), max(across), max(down)), where, (polygon,))


def _parts(key: str) -> tuple[str, str, str]:
    match = _KEY.fullmatch(key)
    assert match is not None
    return match[1], match[2], match[3]


def _size(path: Path | None) -> tuple[int, int]:
    return (None if path is None else sizes_hw([path])[0]) or _UNKNOWN_SIZE
