"""The NIH reader on the real files: facts that anybody can count in them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import pytest

from cxrloc.datasets.labels.names import NIH_BOXED_DISEASES, NIH_DISEASES
from cxrloc.datasets.prepared.coco import to_coco
from cxrloc.datasets.prepared.splits import fold_split, official_split, patient_folds
from cxrloc.datasets.prepared.summary import counts, unboxed_positives
from cxrloc.datasets.radiograph import Box
from cxrloc.datasets.readers import nih
from cxrloc.datasets.readers.index import DatasetIndex

BOXES = dict(zip(NIH_BOXED_DISEASES, (180, 146, 153, 123, 85, 79, 120, 98), strict=True))
BOXES_ON_DISK = dict(zip(NIH_BOXED_DISEASES, (144, 108, 124, 98, 65, 63, 97, 75), strict=True))


@pytest.fixture(scope="module")
def real(shared_data: Path) -> DatasetIndex:
    return nih.index(shared_data / "nih", strict=True)


def boxes_per_disease(index: DatasetIndex, on_disk: bool) -> Counter[str]:
    images = [r for r in index.radiographs if r.path or not on_disk]
    return Counter(box.disease for r in images for box in r.boxes)


def test_the_lists_hold_what_nih_published(real: DatasetIndex) -> None:
    totals = counts(real.radiographs)
    assert (totals["images"], totals["patients"]) == (112_120, 30_805)
    assert (totals["boxes"], totals["boxed images"], totals["patients with boxes"]) == (
        984,
        880,
        726,
    )
    assert boxes_per_disease(real, on_disk=False) == BOXES
    assert sum(r.labels["Pneumonia"] == 1 for r in real.radiographs) == 1431  # v2020; 1353 before
    assert max(r.age_years for r in real.radiographs) == 95
    assert dict(real.warnings) == {"labels under another name": 123}


def test_part_of_the_images_is_on_disk_most_of_them_as_jpeg(real: DatasetIndex) -> None:
    images = [r for r in real.radiographs if r.path is not None]
    totals = counts(images)
    assert (totals["images"], totals["boxed images"], totals["boxes"]) == (1026, 691, 774)
    assert totals["images without a positive"] == 300
    assert boxes_per_disease(real, on_disk=True) == BOXES_ON_DISK
    assert Counter(r.path.suffix for r in images if r.path) == {".jpg": 990, ".png": 36}


def test_positive_labels_of_boxed_images_often_have_no_box(real: DatasetIndex) -> None:
    unboxed = unboxed_positives(real.radiographs, NIH_BOXED_DISEASES)
    assert len(unboxed) == 721
    assert len({image for image, _ in unboxed}) == 521
    coco = to_coco([r for r in real.radiographs if r.boxes], NIH_BOXED_DISEASES)
    assert sum(len(i["not_exhaustive_category_ids"]) for i in coco["images"]) == 721


def test_the_official_split_boxes_test_images_only(real: DatasetIndex) -> None:
    assert Counter(real.official.values()) == {"train_val": 86_524, "test": 25_596}
    assert {real.official[r.image_id] for r in real.radiographs if r.boxes} == {"test"}
    split = official_split(real.radiographs, real.official, 0.1, seed=0)  # no patient is in two
    assert len(split.test) == 25_596
    assert abs(len(split.validation) - 8652) <= 5


def test_each_box_is_one_of_its_image_and_disease_and_survives_coco(real: DatasetIndex) -> None:
    boxed = [r for r in real.radiographs if r.boxes]
    assert all(len(r.boxed) == len(r.boxes) for r in boxed)
    written = [a["bbox"] for a in to_coco(boxed, NIH_BOXED_DISEASES)["annotations"]]
    corners = [(x, y, x + width, y + height) for x, y, width, height in written]
    assert corners == [box.box_xyxy for r in boxed for box in r.boxes]
    first = next(r for r in boxed if r.image_id == "00013118_008.png")
    x, y, w, h = 225.084745762712, 547.019216763771, 86.7796610169491, 79.1864406779661
    assert first.boxes == (Box("Atelectasis", (x, y, x + w, y + h)),)


def test_every_fold_of_the_images_on_disk_has_its_share_of_every_boxed_disease(
    real: DatasetIndex,
) -> None:
    images = [r for r in real.radiographs if r.path is not None]
    folds = patient_folds(images, NIH_DISEASES, 5, seed=0)
    for disease, total in BOXES_ON_DISK.items():
        per_fold = Counter(
            folds[r.image_id] for r in images for b in r.boxes if b.disease == disease
        )
        assert all(abs(per_fold[fold] - total / 5) <= 5 for fold in range(5)), (disease, per_fold)
    sizes = Counter(folds.values())
    assert max(sizes.values()) - min(sizes.values()) <= 2
    tested = [image for k in range(5) for image in fold_split(images, folds, k, 5).test]
    assert sorted(tested) == sorted(folds)


def test_indexing_opens_no_image(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    read_bytes = Path.read_bytes

    def read_and_note(path: Path) -> bytes:
        opened.append(path.suffix)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", read_and_note)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("pixels were decoded"))
    assert len(nih.index(shared_data / "nih").radiographs) == 112_120
    assert not {".png", ".jpg", ".jpeg"} & set(opened)
