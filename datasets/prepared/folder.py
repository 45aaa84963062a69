"""Read and write the prepared folder: written by tools/prepare_data.py, read by later steps.

index.parquet                one row per image of the data set; path is null if there is no file
ground_truth.json            COCO ground truth of the images on disk
ground_truth_fold{k}.json    the same for the images of one fold, with unchanged ids
folds.csv                    image_id, patient_id and fold of the images on disk
summary.txt                  present and missing images, with the reason
manifest.json                sources and their hashes, settings, versions
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cxrloc.datasets.files.atomic import whole_file, write_text
from cxrloc.datasets.files.manifest import file_sha256, write_json
from cxrloc.datasets.prepared.coco import select_images, to_coco
from cxrloc.datasets.radiograph import Box, Radiograph

HOW_TO_MAKE = "make it with: python tools/prepare_data.py --dataset NAME --root DIR --out {path}"
_LABEL_PREFIX = "label_"
_BOX_TYPE = pa.list_(
    pa.struct([("disease", pa.string()), *((c, pa.float64()) for c in ("x1", "y1", "x2", "y2"))])
)


@dataclass(frozen=True)
class PreparedFolder:
    """Paths in a prepared folder; see the module's docstring for their content."""

    path: Path

    @property
    def index(self) -> Path:
        return self.path / "index.parquet"

    @property
    def ground_truth(self) -> Path:
        return self.path / "ground_truth.json"

    def ground_truth_of(self, fold: int | str) -> Path:
        """The ground truth of one fold, or with `*` the pattern for all folds."""
        return self.path / f"ground_truth_fold{fold}.json"

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
    table = _to_table(radiographs, official)
    with whole_file(files.index) as temporary:
        pq.write_table(table, temporary)
    coco = to_coco(on_disk, boxed_diseases, folds)
    write_json(files.ground_truth, coco)
    for stale in out.glob(files.ground_truth_of("*").name):  # an earlier run may have more folds
        stale.unlink()
    for fold in range(k):
        of_fold = {r.image_id for r in on_disk if folds[r.image_id] == fold}
        write_json(files.ground_truth_of(fold), select_images(coco, of_fold))
    rows = [(r.image_id, r.patient_id, folds[r.image_id]) for r in on_disk]
    frame = pd.DataFrame(rows, columns=["image_id", "patient_id", "fold"])
    write_text(files.folds, frame.to_csv(index=False, lineterminator="\n"))
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
    try:
        manifest = json.loads(files.manifest.read_text())
    except ValueError as error:
        raise ValueError(f"cannot read {files.manifest}: {error}") from error
    radiographs, official = _from_table(pq.read_table(files.index, filters=[("path", "!=", "")]))
    frame = pd.read_csv(files.folds, dtype={"image_id": str, "patient_id": str, "fold": int})
    if not {"image_id", "fold"} <= set(frame.columns):
        raise ValueError(
            f"{files.folds} has columns {list(frame.columns)}, expected image_id, patient_id, "
            "fold; run tools/prepare_data.py again"
        )
    folds: dict[str, int] = dict(zip(frame["image_id"], frame["fold"].tolist(), strict=True))
    if folds.keys() != {r.image_id for r in radiographs}:
        raise ValueError(
            f"{files.folds} lists {len(folds)} images, not the {len(radiographs)} of "
            f"{files.index.name}; run tools/prepare_data.py again"
        )
    if radiographs and not radiographs[0].file.is_file():
        raise FileNotFoundError(
            f"{path} was prepared from images that no longer exist, e.g. {radiographs[0].path}; "
            "run tools/prepare_data.py again with their present folder as --root"
        )
    return PreparedData(radiographs, folds, int(manifest["k"]), official, manifest, path)


def _to_table(radiographs: Sequence[Radiograph], official: Mapping[str, str]) -> pa.Table:
    """One column per field, one per disease for labels; null if a row does not mention it."""
    boxes = [
        [
            dict(zip(("disease", "x1", "y1", "x2", "y2"), (b.disease, *b.box_xyxy), strict=True))
            for b in r.boxes
        ]
        for r in radiographs
    ]
    diseases = dict.fromkeys(d for r in radiographs for d in r.labels)
    paths = [None if r.path is None else str(r.path) for r in radiographs]
    columns = {
        "image_id": pa.array([r.image_id for r in radiographs], pa.string()),
        "path": pa.array(paths, pa.string()),
        "patient_id": pa.array([r.patient_id for r in radiographs], pa.string()),
        "view": pa.array([r.view for r in radiographs], pa.string()),
        "sex": pa.array([r.sex for r in radiographs], pa.string()),
        "age_years": pa.array([r.age_years for r in radiographs], pa.float64(), from_pandas=False),
        "study_id": pa.array([r.study_id for r in radiographs], pa.string()),
        "body_part": pa.array([r.body_part for r in radiographs], pa.string()),
        "height": pa.array([r.size_hw[0] for r in radiographs], pa.int32()),
        "width": pa.array([r.size_hw[1] for r in radiographs], pa.int32()),
        "uncertain": pa.array([list(r.uncertain) for r in radiographs], pa.list_(pa.string())),
        "official": pa.array([official.get(r.image_id) for r in radiographs], pa.string()),
        "boxes": pa.array(boxes, _BOX_TYPE),
    }
    for disease in diseases:
        values = [r.labels.get(disease) for r in radiographs]
        columns[_LABEL_PREFIX + disease] = pa.array(values, pa.float64(), from_pandas=False)
    return pa.table(columns)


def _from_table(table: pa.Table) -> tuple[list[Radiograph], dict[str, str]]:
    columns = {name: table[name].to_pylist() for name in table.column_names}
    names = [name for name in table.column_names if name.startswith(_LABEL_PREFIX)]
    shared: dict[tuple[float | None, ...], dict[str, float]] = {}
    radiographs = []
    for i, image_id in enumerate(columns["image_id"]):
        values = tuple(columns[name][i] for name in names)
        labels = {
            n.removeprefix(_LABEL_PREFIX): v
            for n, v in zip(names, values, strict=True)
            if v is not None
        }
        radiographs.append(
            Radiograph(
                image_id=image_id,
                path=Path(columns["path"][i]),
                patient_id=columns["patient_id"][i],
                view=columns["view"][i],
                labels=shared.setdefault(values, labels),
                boxes=tuple(_box(box) for box in columns["boxes"][i]),
                size_hw=(columns["height"][i], columns["width"][i]),
                sex=columns["sex"][i],
                age_years=columns["age_years"][i],
                study_id=columns["study_id"][i],
                body_part=columns["body_part"][i],
                uncertain=tuple(columns["uncertain"][i]),
            )
        )
    listed = zip(columns["image_id"], columns["official"], strict=True)
    return radiographs, {image: part for image, part in listed if part is not None}


def _box(row: Mapping[str, Any]) -> Box:
    return Box(row["disease"], (row["x1"], row["y1"], row["x2"], row["y2"]))
