"""nih-boxes-v1 as shipped is what NIH's lists give; folds of a protocol when preparing."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxrloc.datasets.files.keys import image_key, nih_patient
from cxrloc.datasets.labels.names import NIH_BOXED_DISEASES, NIH_DISEASES
from cxrloc.datasets.prepared.protocols import protocol as module
from cxrloc.datasets.prepared.protocols.protocol import (
    boxes_hash,
    find_protocol,
    folds_of,
    list_hash,
)
from cxrloc.datasets.prepared.splits import patient_folds
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.datasets.readers import nih
from datasets.prepared.protocols.protocol_world import (
    DISEASES,
    PROTOCOL,
    K,
    boxed_radiographs,
    radiograph,
)


@pytest.fixture(scope="module")
def real(shared_data: Path) -> list[Radiograph]:
    return nih.index(shared_data / "nih").radiographs


def test_the_shipped_facts_are_those_of_the_paper() -> None:
    protocol = find_protocol("nih-boxes-v1")

    assert (protocol.boxes, len(protocol.images), len(protocol.fold_of)) == (984, 880, 726)
    assert protocol.diseases == NIH_BOXED_DISEASES
    assert {image.fold for image in protocol.images.values()} == set(range(protocol.k))
    for stem, image in protocol.images.items():
        assert protocol.fold_of[nih_patient(stem)] == image.fold, "a patient in two folds"


def test_the_shipped_folds_and_hashes_are_made_from_nihs_own_lists(
    real: list[Radiograph],
) -> None:
    protocol = find_protocol("nih-boxes-v1")
    boxed = [r for r in real if r.boxes]
    folds = patient_folds(boxed, NIH_DISEASES, protocol.k, protocol.seed)
    boxes = [
        (image_key(r.image_id), b.disease, (x1, y1, x2 - x1, y2 - y1))
        for r in boxed
        for b in r.boxes
        for x1, y1, x2, y2 in [b.box_xyxy]
    ]

    assert {image_key(image): fold for image, fold in folds.items()} == {
        stem: image.fold for stem, image in protocol.images.items()
    }
    assert list_hash(boxes) == protocol.boxes_sha256
    for stem, image in protocol.images.items():
        assert image.boxes_hash == boxes_hash(b[1:] for b in boxes if b[0] == stem)


def test_nihs_folds_are_the_protocols_whatever_is_on_disk(real: list[Radiograph]) -> None:
    protocol = find_protocol("nih-boxes-v1")

    folds, name = folds_of(real, NIH_DISEASES, 5, 0)

    assert name == "nih-boxes-v1"
    assert folds.keys() == {r.image_id for r in real if r.path}
    boxed = [image for image in folds if image_key(image) in protocol.images]
    assert len(boxed) == 691
    assert all(folds[image] == protocol.images[image_key(image)].fold for image in boxed)
    own = folds_of(real, NIH_DISEASES, 5, 1)
    assert own == (patient_folds([r for r in real if r.path], NIH_DISEASES, 5, 1), "")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "protocol_names", lambda: ("drawn-v1",))
    monkeypatch.setattr(module, "find_protocol", lambda name: PROTOCOL)


@pytest.mark.usefixtures("drawn")
def test_listed_patients_get_the_protocols_folds_and_the_others_are_split() -> None:
    listed = [radiograph(p, 7) for p in range(1, 13)]  # other images of its patients
    others = [radiograph(p, i) for p in range(20, 32) for i in range(2)]
    images = [*boxed_radiographs(), *listed, *others]

    folds, name = folds_of(images, DISEASES, K, 0)

    assert name == "drawn-v1"
    for r in [*boxed_radiographs(), *listed]:
        assert folds[r.image_id] == PROTOCOL.fold_of[r.patient_id]
    assert {r.image_id: folds[r.image_id] for r in others} == patient_folds(others, DISEASES, K, 0)


@pytest.mark.usefixtures("drawn")
def test_a_missing_image_changes_no_fold() -> None:
    missing = [radiograph(20, 0), *boxed_radiographs()]
    gone = [r for r in boxed_radiographs() if r.patient_id not in ("2", "3")]
    whole, _ = folds_of(missing, DISEASES, K, 0)
    part, name = folds_of(
        [*gone, *(_without_file(r) for r in boxed_radiographs() if r not in gone)], DISEASES, K, 0
    )

    assert name == "drawn-v1"
    assert part == {image: whole[image] for image in part}
    assert len(part) == len(gone)


def _without_file(r: Radiograph) -> Radiograph:
    rows = [(b.disease, b.box_xyxy) for b in r.boxes]
    return radiograph(int(r.patient_id), 0, *rows, on_disk=False)


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("where", [(2.25, 8, 23.5, 30), (3.25, 8, 22.5, 30)])
def test_a_box_moved_by_a_pixel_makes_another_data_set_with_folds_of_its_own(
    where: tuple[float, float, float, float],
) -> None:
    moved = radiograph(2, 0, ("Mass", where))
    images = [*(r for r in boxed_radiographs() if r.image_id != moved.image_id), moved]

    assert folds_of(images, DISEASES, K, 0) == (patient_folds(images, DISEASES, K, 0), "")


@pytest.mark.usefixtures("drawn")
def test_images_of_no_protocol_keep_their_own_folds_boxed_or_not() -> None:
    images = [radiograph(p, 0, ("Mass", (p, 8, p + 20, 30))) for p in range(20, 30)]

    assert folds_of(images, DISEASES, K, 0) == (patient_folds(images, DISEASES, K, 0), "")
    assert folds_of([*images, *boxed_radiographs()], DISEASES, K, 0)[1] == "drawn-v1"


@pytest.mark.usefixtures("drawn")
def test_other_numbers_of_folds_and_seeds_are_the_users() -> None:
    images = boxed_radiographs()
    for k, seed in ((4, 0), (K, 1)):
        assert folds_of(images, DISEASES, k, seed) == (patient_folds(images, DISEASES, k, seed), "")


@pytest.mark.usefixtures("drawn")
def test_no_protocol_leaves_a_fold_empty() -> None:
    """Four patients of two of its folds: own folds, so that each has an image to test on."""
    in_two = [r for r in boxed_radiographs() if PROTOCOL.fold_of[r.patient_id] != 0]

    folds, name = folds_of(in_two, DISEASES, K, 0)

    assert name == ""
    assert set(folds.values()) == set(range(K))


def test_hashes_do_not_depend_on_order_or_float_noise() -> None:
    boxes = [("Mass", (10.04, 20, 30, 40)), ("Nodule", (1, 2, 3, 4))]
    noisy = [("Nodule", (1 + 1e-9, 2, 3, 4)), ("Mass", (10.04, 20, 30 - 1e-9, 40))]

    assert boxes_hash(boxes) == boxes_hash(noisy)
    assert boxes_hash(boxes) != boxes_hash([("Mass", (10.2, 20, 30, 40)), boxes[1]])
    assert boxes_hash(boxes) != boxes_hash(boxes[:1])
    assert boxes_hash([("Mass", (-0.01, 0, 1, 1))]) == boxes_hash([("Mass", (0, 0, 1, 1))])


def test_an_unknown_protocol_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown protocol 'nih-v9'; expected nih-boxes-v1"):
        find_protocol("nih-v9")
