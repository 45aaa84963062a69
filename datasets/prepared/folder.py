"""Read and write the prepared folder: written by cxrloc prepare, read by later steps.

index.json                   one value per image of the data set in every column; path null where
                             there is no file
ground_truth.json            COCO ground truth of the images that are on disk
ground_truth_fold{k}.json    the same, images of one fold alone, ids unchanged
ground_truth_test.json       the same, images of the data set's official test part, if it has one
folds.csv                    image_id, patient_id, fold, of the images on disk
summary.txt                  present and missing images, and why they are missing
manifest.json                sources and their hashes, settings, versions
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrloc.datasets.files.atomic import write_text
from cxrloc.datasets.files.manifest import file_sha256, write_json
from cxrloc.datasets.prepared.coco import select_images, to_coco
from cxrloc.datasets.radiograph import Box, Radiograph

HOW_TO_MAKE = "make it with: cxrloc prepare --dataset NAME --root DIR --out {path}"
_FOLD_COLUMNS = ("image_id", "patient_id", "fold")


@dataclass(frozen=True)
class PreparedFolder:
    """Paths in a prepared folder; see the module's docstring for their content."""

    path: Path

    @property
    def index(self) -> Path:
        return self.path / "index.json"

    @property
    def ground_truth(self) -> Path:
        return self.path / "ground_truth.json"

    def ground_truth_of(self, fold: int | str) -> Path:
        """The ground truth of one fold, or with `*` the pattern for all folds."""
        return self.path / f"ground_truth_fold{fold}.json"

    @property
    def ground_truth_of_test(self) -> Path:
        """The ground truth of the official test part."""
        return self.path / "ground_truth_test.json"

    @property
    def folds(self) -> Path:
        return self.path / "folds.csv"

    @property
    def summary(self) -> Path:
        return self.path / "summary.txt"

    @property
    def manifest(self) -> Path:
        return self.path / "manifest.json"

    @property
    def pixel_cache(self) -> Path:
        """Folder in which trainings keep decoded pixels by default."""
        return self.path / "pixel_cache"


@dataclass(frozen=True)
class PreparedData:
    """A prepared folder in memory.

    Attributes:
        radiographs: those with a readable file on disk, in the data set's order.
        folds: image id -> fold, 0 to k-1, for each of them.
        k: number of folds.
        official: image id -> "train_val" or "test"; empty if the data set has no lists.
        manifest: manifest of the run that wrote the folder.
        root: the prepared folder.
    """

    radiographs: list[Radiograph]
    folds: dict[str, int]
    k: int
    official: dict[str, str]
    manifest: dict[str, Any]
    root: Path

    @property
    def files(self) -> PreparedFolder:
        """The files of the folder."""
        return PreparedFolder(self.root)

    @property
    def boxed_diseases(self) -> tuple[str, ...]:
        """Diseases with boxes in the data set: the ground truth's categories, in order."""
        return tuple(self.manifest["boxed_diseases"])

    @property
    def images_root(self) -> Path | None:
        """The folder of the data set, if the manifest tells it: from the prepared folder."""
        root = self.manifest.get("config", {}).get("root")
        return None if root is None else Path(os.path.abspath(self.root / root))


def write_prepared(
    out: Path,
    radiographs: Sequence[Radiograph],
    *,
    boxed_diseases: Sequence[str],
    folds: Mapping[str, int],
    k: int,
    official: Mapping[str, str],
    summary: str,
    manifest: Mapping[str, Any],
) -> None:
    """Write the folder, each file under a temporary name first and the manifest last.

    Args:
        radiographs: the whole data set; those with a path form the ground truth.
        folds: image id -> fold, for the radiographs with a path.
    """
    out.mkdir(parents=True, exist_ok=True)
    files = PreparedFolder(out)
    files.manifest.unlink(missing_ok=True)  # without a manifest the folder is unfinished
    on_disk = [r for r in radiographs if r.path is not None]
    index = _to_index(radiographs, official)
    write_text(files.index, json.dumps(index, separators=(",", ":"), allow_nan=False) + "\n")
    coco = to_coco(on_disk, boxed_diseases, folds)
    write_json(files.ground_truth, coco)
    for stale in out.glob(files.ground_truth_of("*").name):  # an earlier run may have more folds
        stale.unlink()
    for fold in range(k):
        of_fold = {r.image_id for r in on_disk if folds[r.image_id] == fold}
        write_json(files.ground_truth_of(fold), select_images(coco, of_fold))
    official_test = {r.image_id for r in on_disk if official.get(r.image_id) == "test"}
    files.ground_truth_of_test.unlink(missing_ok=True)
    if official_test:
        write_json(files.ground_truth_of_test, select_images(coco, official_test))
    rows = [(r.image_id, r.patient_id, folds[r.image_id]) for r in on_disk]
    write_text(files.folds, _folds_text(rows))
    write_text(files.summary, summary)
    hashes = dict(manifest.get("hashes", {}))
    hashes.update({path.name: file_sha256(path) for path in (files.folds, files.ground_truth)})
    facts = {"boxed_diseases": list(boxed_diseases), "k": k, "hashes": hashes}
    write_json(files.manifest, {**manifest, **facts})


def load_prepared(path: Path) -> PreparedData:
    """Read a prepared folder.

    Raises:
        FileNotFoundError: if the folder or a file is missing, or the images have moved.
        ValueError: if the folds do not match the index.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"no prepared folder {path}; {HOW_TO_MAKE.format(path=path)}")
    files = PreparedFolder(path)
    needed = (files.manifest, files.index, files.ground_truth, files.folds)
    missing = [file.name for file in needed if not file.is_file()]
    if missing:
        raise FileNotFoundError(
            f"prepared folder {path} lacks {', '.join(missing)} (interrupted?); "
            + HOW_TO_MAKE.format(path=path)
        )
    manifest = _read_json(files.manifest)
    radiographs, official = _from_index(_read_json(files.index))
    folds = _read_folds(files.folds)
    if folds.keys() != {r.image_id for r in radiographs}:
        raise ValueError(
            f"{files.folds} lists {len(folds)} images, not the {len(radiographs)} of "
            f"{files.index.name}; run cxrloc prepare again"
        )
    if radiographs and not radiographs[0].file.is_file():
        raise FileNotFoundError(
            f"{path} was prepared from images that no longer exist, e.g. {radiographs[0].path}; "
            "run cxrloc prepare again with their present folder as --root"
        )
    return PreparedData(radiographs, folds, int(manifest["k"]), official, manifest, path)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    return value


def _folds_text(rows: Sequence[tuple[str, str, int]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_FOLD_COLUMNS, *rows])
    return text.getvalue()


def _read_folds(path: Path) -> dict[str, int]:
    """Image id -> fold."""
    with path.open(newline="", encoding="utf-8") as handle:
        rows = csv.DictReader(handle)
        columns = list(rows.fieldnames or ())
        if not {"image_id", "fold"} <= set(columns):
            raise ValueError(
                f"{path} has columns {columns}, expected {', '.join(_FOLD_COLUMNS)}; "
                "run cxrloc prepare again"
            )
        try:
            return {row["image_id"]: int(row["fold"]) for row in rows}
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: a fold is not a whole number: {error}") from error


def _to_index(radiographs: Sequence[Radiograph], official: Mapping[str, str]) -> dict[str, Any]:
    """The columns of the index; JSON knows no NaN, so null stands for what is unknown.

    Equal labels are written once: `labels` is the place of the image's own in `label_sets`, which
    name only the diseases that the data set mentions for it.
    """
    label_sets: dict[tuple[tuple[str, float | None], ...], int] = {}
    columns = {
        "image_id": [r.image_id for r in radiographs],
        "path": [None if r.path is None else str(r.path) for r in radiographs],
        "patient_id": [r.patient_id for r in radiographs],
        "patient_known": [r.patient_known for r in radiographs],
        "view": [r.view for r in radiographs],
        "sex": [r.sex for r in radiographs],
        "age_years": [_known(r.age_years) for r in radiographs],
        "study_id": [r.study_id for r in radiographs],
        "body_part": [r.body_part for r in radiographs],
        "size_hw": [r.size_hw for r in radiographs],
        "uncertain": [r.uncertain for r in radiographs],
        "official": [official.get(r.image_id) for r in radiographs],
        "boxes": [[_box_row(box) for box in r.boxes] for r in radiographs],
        "labels": [
            label_sets.setdefault(
                tuple((disease, _known(value)) for disease, value in r.labels.items()),
                len(label_sets),
            )
            for r in radiographs
        ],
    }
    return {"label_sets": [dict(labels) for labels in label_sets], "images": columns}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _from_index(index: Mapping[str, Any]) -> tuple[list[Radiograph], dict[str, str]]:
    """The images on disk, and the list of the data set that names each."""
    label_sets = [{d: _number(value) for d, value in row.items()} for row in index["label_sets"]]
    names = list(index["images"])
    rows = (
        dict(zip(names, row, strict=True)) for row in zip(*index["images"].values(), strict=True)
    )
    on_disk = [row for row in rows if row["path"] is not None]
    radiographs = [_radiograph(row, label_sets[row["labels"]]) for row in on_disk]
    official = {row["image_id"]: row["official"] for row in on_disk if row["official"] is not None}
    return radiographs, official


def _radiograph(row: Mapping[str, Any], labels: Mapping[str, float]) -> Radiograph:
    height, width = row["size_hw"]
    return Radiograph(
        image_id=row["image_id"],
        path=Path(row["path"]),
        patient_id=row["patient_id"],
        view=row["view"],
        labels=labels,
        boxes=tuple(map(_box, row["boxes"])),
        size_hw=(height, width),
        sex=row["sex"],
        age_years=_number(row["age_years"]),
        study_id=row["study_id"],
        body_part=row["body_part"],
        uncertain=tuple(row["uncertain"]),
        patient_known=row["patient_known"],
    )


def _box_row(box: Box) -> list[Any]:
    """Disease, four numbers and, where there are any, the polygons."""
    return [box.disease, *box.box_xyxy, *([box.polygons] if box.polygons else [])]


def _box(row: Sequence[Any]) -> Box:
    disease, x1, y1, x2, y2, *polygons = row
    outlines = tuple(tuple(points) for points in polygons[0]) if polygons else ()
    return Box(disease, (x1, y1, x2, y2), outlines)
