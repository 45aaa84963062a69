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
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from cxrloc.datasets.files.atomic import write_text
from cxrloc.datasets.files.checked import (
    MAX_FOLDS,
    Name,
    Text,
    checked,
)
from cxrloc.datasets.files.manifest import file_sha256, write_json
from cxrloc.datasets.files.parse import csv_table, read_json, read_text
from cxrloc.datasets.prepared.coco import select_images, to_coco
from cxrloc.datasets.prepared.hashes import MANIFEST, check_hash
from cxrloc.datasets.prepared.index_file import AGAIN, read_index, to_index
from cxrloc.datasets.radiograph import Radiograph

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
    def hashed(self) -> tuple[Path, ...]:
        """The files whose hashes are compared before anything is read from the folder."""
        return self.index, self.folds, self.ground_truth

    @property
    def manifest(self) -> Path:
        return self.path / MANIFEST

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
        return images_root_of(self.manifest, self.root)


def images_root_of(manifest: Mapping[str, Any], folder: Path) -> Path | None:
    """The folder of the data set that a prepared folder was made of, if its manifest tells it."""
    root = manifest.get("config", {}).get("root")
    return None if root is None else Path(os.path.abspath(folder / root))


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
    index = to_index(radiographs, official)
    write_text(files.index, json.dumps(index, separators=(",", ":"), allow_nan=False) + "\n")
    coco = to_coco(on_disk, boxed_diseases, folds)
    write_json(files.ground_truth, coco)
    for stale in out.glob(files.ground_truth_of("*").name):  # an earlier run may have more folds
        stale.unlink()
    files.ground_truth_of_test.unlink(missing_ok=True)
    parts = {
        files.ground_truth_of(n): {r.image_id for r in on_disk if folds[r.image_id] == n}
        for n in range(k)
    }
    official_test = {r.image_id for r in on_disk if official.get(r.image_id) == "test"}
    if official_test:
        parts[files.ground_truth_of_test] = official_test
    for path, images in parts.items():
        write_json(path, select_images(coco, images))
    rows = [(r.image_id, r.patient_id, folds[r.image_id]) for r in on_disk]
    write_text(files.folds, _folds_text(rows))
    write_text(files.summary, summary)
    hashes = dict(manifest.get("hashes", {}))
    hashes.update({path.name: file_sha256(path) for path in (*files.hashed, *parts)})
    facts = {"boxed_diseases": list(boxed_diseases), "k": k, "hashes": hashes}
    write_json(files.manifest, {**manifest, **facts})


def load_prepared(path: Path) -> PreparedData:
    """Read a prepared folder.

    Raises:
        FileNotFoundError: if the folder or a file is missing, or the images have moved.
        ValueError: if a file is damaged, or not the one that the manifest was written for; names
            the file and what to do.
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
    manifest = _read_manifest(files)
    radiographs, official = read_index(files.index)
    folds = _read_folds(files.folds, manifest["k"])
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
    return PreparedData(radiographs, folds, manifest["k"], official, manifest, path)


class _Manifest(TypedDict):
    boxed_diseases: list[Name]
    k: Annotated[int, Field(strict=True, ge=1, le=MAX_FOLDS)]
    hashes: dict[str, Text]


def _read_manifest(files: PreparedFolder) -> dict[str, Any]:
    """The manifest, after checking that the files are those it was written for.

    Raises:
        ValueError: for a manifest without their hashes, and a file that was changed afterwards.
    """
    manifest: dict[str, Any] = read_json(files.manifest)
    known: _Manifest = checked(manifest, _Manifest, str(files.manifest), AGAIN)
    for file in files.hashed:
        stated = known["hashes"].get(file.name)
        if stated is None:
            raise ValueError(f"{files.manifest} states no hash of {file.name}; {AGAIN}")
        check_hash(file, stated)
    return manifest


def _folds_text(rows: Sequence[tuple[str, str, int]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_FOLD_COLUMNS, *rows])
    return text.getvalue()


def _read_folds(path: Path, k: int) -> dict[str, int]:
    """Image id -> fold, 0 to k - 1."""
    folds: dict[str, int] = {}
    for number, row in enumerate(
        csv_table(io.StringIO(read_text(path)), _FOLD_COLUMNS, str(path)), start=1
    ):
        image, fold = row["image_id"], row["fold"]
        if not (
            fold.isdecimal()
            and fold.isascii()
            and len(fold) < len(str(MAX_FOLDS))
            and int(fold) < k
        ):
            raise ValueError(
                f"{path}, row {number}: {image} has fold {fold!r}, expected 0 to {k - 1}; {AGAIN}"
            )
        if image in folds:
            raise ValueError(f"{path}, row {number}: {image} is listed twice; {AGAIN}")
        folds[image] = int(fold)
    return folds
