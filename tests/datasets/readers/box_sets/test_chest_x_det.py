"""ChestX-Det and ChestX-Det10: layout, outlines, NIH's patients and images, faults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from builders import write_image
from cxrloc.datasets.prepared.coco import to_coco
from cxrloc.datasets.readers.box_sets.chest_x_det import index, index10
from datasets.readers.box_sets.layouts import SQUARE, chest_x_det

FINDING: dict[str, Any] = {"syms": ["Mass"], "boxes": [[100, 200, 300, 500]], "polygons": [SQUARE]}


def _write(root: Path, *entries: dict[str, Any], name: str = "ChestX_Det_train.json") -> Path:
    (root / name).write_text(json.dumps(entries))
    return root


def test_outlines_become_the_segmentation_of_the_ground_truth(tmp_path: Path) -> None:
    chest_x_det(tmp_path)
    found = index(tmp_path)
    coco = to_coco(found.radiographs, found.boxed_diseases)
    assert [a["segmentation"] for a in coco["annotations"][:2]] == [
        [[100, 200, 300, 200, 300, 500, 100, 500]],
        [[500, 500, 700, 500, 500, 800]],
    ]


def test_patients_are_nihs_and_every_finding_is_labelled(tmp_path: Path) -> None:
    chest_x_det(tmp_path)
    found = index(tmp_path)
    assert [(r.image_id, r.patient_id, r.patient_known) for r in found.radiographs] == [
        ("36204.png", "10", True),
        ("36200.png", "4", True),
        ("36199.png", "3", True),
    ]
    assert found.official == {"36204.png": "train_val", "36200.png": "train_val"} | {
        "36199.png": "test"
    }
    assert len(found.diseases) == 13
    assert found.radiographs[0].positives == ("Pleural_Thickening",)
    assert set(found.radiographs[1].labels.values()) == {0.0}
    renamed = "names of the set that are read as others (None: left out)"
    assert dict(found.warnings) == {renamed: 1}
    assert found.warnings.examples[renamed] == ["Pleural Thickening = Pleural_Thickening"]


def test_an_image_that_the_public_lists_lack_is_its_own_patient(tmp_path: Path) -> None:
    (image,) = index(_write(tmp_path, {"file_name": "45677.png", **FINDING})).radiographs
    assert (image.patient_id, image.patient_known) == ("45677.png", False)


def test_nihs_images_stand_in_for_its_own_in_any_folder_and_format(tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    _write(labels, {"file_name": "36199.png", **FINDING}, {"file_name": "36200.png", **FINDING})
    nih = tmp_path / "nih"
    copy = write_image(nih / "images_001" / "images" / "00000003_003.jpg")
    own = write_image(nih / "36200.png")
    write_image(nih / "images_001" / "images" / "00000004_000.png")
    found = index(nih, label_file=labels)
    assert [r.path for r in found.radiographs] == [copy, own]
    assert found.warnings["images read from NIH's copies"] == 1
    assert found.warnings["no label file of the other part"] == 1


def test_the_label_map_merges_and_leaves_out(tmp_path: Path) -> None:
    chest_x_det(tmp_path)
    names = tmp_path / "labels.yaml"
    names.write_text('Diffuse Nodule: Nodule\nNodule: Nodule\n"*": null\n')
    found = index(tmp_path, labels=str(names))
    assert found.diseases == ("Nodule",)
    assert [r.labels for r in found.radiographs] == [{"Nodule": 0}, {"Nodule": 0}, {"Nodule": 1}]
    assert found.warnings["boxes left out by the label map"] == 2


def test_chestx_det10_has_boxes_alone_and_once_had_nihs_names(tmp_path: Path) -> None:
    entries: list[dict[str, Any]] = [
        {"file_name": "36365.png", "syms": ["Emphysema"], "boxes": [[238, 164, 473, 398]]},
        {"file_name": "00000103_000.png", "syms": [], "boxes": []},
    ]
    _write(tmp_path, *entries, name="train.json")
    _write(tmp_path, {"file_name": "36199.png", "syms": [], "boxes": []}, name="test.json")
    found = index10(tmp_path, strict=True)
    assert len(found.diseases) == 10
    assert [r.patient_id for r in found.radiographs] == ["103", "103", "3"]
    (box,) = found.radiographs[0].boxes
    assert (box.disease, box.box_xyxy, box.polygons) == ("Emphysema", (238, 164, 473, 398), ())


def test_an_equal_finding_counts_once_and_a_line_is_no_outline(tmp_path: Path) -> None:
    twice = {key: value * 2 for key, value in FINDING.items()}
    line = {**FINDING, "polygons": [SQUARE[:2]]}
    found = index(_write(tmp_path, {"file_name": "1.png", **twice}, {"file_name": "2.png", **line}))
    assert [len(r.boxes) for r in found.radiographs] == [1, 1]
    assert found.radiographs[1].boxes[0].polygons == ()
    assert found.warnings["equal duplicate boxes dropped"] == 1
    assert found.warnings["outlines of fewer than three points"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"syms": ["Mass", "Mass"]}, "2 syms, 1 boxes and 1 polygons; expected one of each"),
        ({"syms": ["Cyst"]}, "unknown finding 'Cyst'; expected Atelectasis"),
        ({"boxes": [[1, 2, 3]]}, r"box \[1, 2, 3\] of Mass, expected four numbers"),
        ({"boxes": [[30, 2, 3, 9]]}, "expected finite left < right and top < bottom"),
        ({"boxes": [[1100, 2, 1200, 9]]}, "lies outside of the 1024 x 1024 frame"),
    ],
)
def test_a_faulty_entry_is_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    _write(tmp_path, {"file_name": "1.png", **FINDING, **change})
    with pytest.raises(ValueError, match=rf"train.json, entry 0 \(1.png\).*{message}"):
        index(tmp_path)


def test_other_files_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"ChestX_Det_train.json and .*--label-file"):
        index(tmp_path)
    (tmp_path / "ChestX_Det_train.json").write_text('{"images": []}')
    with pytest.raises(ValueError, match=r"entry 0: .* is it a file of ChestX-Det\?"):
        index(tmp_path)
    entry = {"file_name": "1.png", **FINDING}
    with pytest.raises(ValueError, match=r"entry 1: image 1.png is listed in .*entry 0, too"):
        index(_write(tmp_path, entry, entry))


def test_the_real_entries_are_found_among_nihs_images(shared_data: Path) -> None:
    found = index(shared_data / "nih", label_file=shared_data / "second_readers" / "chestx_det")
    assert len(found.radiographs) == 72
    assert sum(len(r.boxes) for r in found.radiographs) == 210
    assert all(r.path is not None and r.patient_known for r in found.radiographs)
    assert all(len(box.polygons) == 1 for r in found.radiographs for box in r.boxes)
