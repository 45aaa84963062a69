"""Other sets' boxes join NIH's official train part, and never its test part."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxrloc.datasets.labels.names import NIH_BOXED_DISEASES
from cxrloc.datasets.readers.box_sets.nih_names.lookup import nih_image_of_rsna
from cxrloc.datasets.readers.box_sets.nih_with_boxes import index
from datasets.readers.box_sets.layouts import OPACITY_ID, SQUARE, TRIANGLE, rsna

NihTree = Callable[..., Path]
RSNA_IMAGE = "00019124_092.png"
TRAIN, TEST = ("00000004_000.png", RSNA_IMAGE), ("00000003_003.png", "00000099_000.png")
NIH_BOX = (100.0, 100.0, 200.0, 200.0)


@pytest.fixture
def nih(nih_tree: NihTree) -> Path:
    rows = [(image, "Mass") for image in (*TRAIN, *TEST)]
    return nih_tree(rows, [("00000003_003.png", "Mass", 100, 100, 100, 100)], (TRAIN, TEST))


def _chest_x_det(root: Path, **findings: list[str]) -> Path:
    """Images n36200 ... with findings, each the square."""
    root.mkdir()
    entries = [
        {
            "file_name": f"{name[1:]}.png",
            "syms": syms,
            "boxes": [[100, 200, 300, 500]] * len(syms),
            "polygons": [SQUARE] * len(syms),
        }
        for name, syms in findings.items()
    ]
    (root / "ChestX_Det_train.json").write_text(json.dumps(entries))
    return root


def _drawn(root: Path, **options: Any) -> dict[str, list[tuple[str, tuple[float, ...]]]]:
    found = index(root, **options)
    return {
        r.image_id: [(box.disease, box.box_xyxy) for box in r.boxes]
        for r in found.radiographs
        if r.boxes
    }


def test_without_sets_it_is_nih(nih: Path) -> None:
    assert _drawn(nih) == {"00000003_003.png": [("Mass", NIH_BOX)]}
    with pytest.raises(ValueError, match="--labels maps the names of other sets; nih takes it"):
        index(nih, labels="labels.yaml")


def test_boxes_join_the_train_part_alone(nih: Path, tmp_path: Path) -> None:
    # 36199 is 00000003_003.png, which NIH boxed
    drawn = _chest_x_det(tmp_path / "det", n36200=["Nodule", "Fracture"], n36199=["Mass"])
    found = index(nih, boxes=f"chestx-det={drawn}")
    boxed = {r.image_id: r.boxes for r in found.radiographs if r.boxes}
    assert list(boxed) == ["00000004_000.png", "00000003_003.png"]
    (nodule,) = boxed["00000004_000.png"]
    assert (nodule.disease, nodule.box_xyxy) == ("Nodule", (100, 200, 300, 500))
    assert len(nodule.polygons[0]) == 8
    assert [box.box_xyxy for box in boxed["00000003_003.png"]] == [NIH_BOX]
    assert found.warnings["chestx-det: boxes taken"] == 1
    assert found.warnings["chestx-det: boxes of the official test part, left out"] == 1
    assert found.warnings["chestx-det: boxes of other diseases, left out"] == 1
    kind = "added boxes of a disease that NIH does not label; NIH's label stays"
    assert found.warnings[kind] == 1
    assert drawn / "ChestX_Det_train.json" in found.sources


def test_the_first_set_counts_for_a_disease_of_an_image(nih: Path, tmp_path: Path) -> None:
    (tmp_path / "rsna").mkdir()
    rsna(tmp_path / "rsna")
    assert nih_image_of_rsna(OPACITY_ID) == RSNA_IMAGE
    det = _chest_x_det(tmp_path / "det")
    entry: dict[str, Any] = {"file_name": RSNA_IMAGE, "syms": ["Consolidation", "Mass"]}
    entry |= {"boxes": [[1, 2, 3, 4], [500, 500, 700, 800]], "polygons": [[], TRIANGLE]}
    (det / "ChestX_Det_train.json").write_text(json.dumps([entry]))
    labels = tmp_path / "labels.yaml"
    labels.write_text('Consolidation: Pneumonia\nLung Opacity: Pneumonia\nMass: Mass\n"*": null\n')
    folders = f"chestx-det={det}", f"rsna={tmp_path / 'rsna'}"
    options = {"labels": str(labels)}
    chest_first = _drawn(nih, boxes=",".join(folders), **options)[RSNA_IMAGE]
    assert chest_first == [("Pneumonia", (1, 2, 3, 4)), ("Mass", (500, 500, 700, 800))]
    rsna_first = _drawn(nih, boxes=",".join(reversed(folders)), **options)[RSNA_IMAGE]
    assert sorted(rsna_first) == [
        ("Mass", (500, 500, 700, 800)),
        ("Pneumonia", (264, 152, 477, 531)),
        ("Pneumonia", (562, 152, 818, 605)),
    ]


def test_a_set_without_one_of_the_eight_diseases_asks_for_a_map(nih: Path, tmp_path: Path) -> None:
    (tmp_path / "rsna").mkdir()
    rsna(tmp_path / "rsna")
    names = ", ".join(NIH_BOXED_DISEASES)
    with pytest.raises(ValueError, match=rf"rsna: none of its diseases .*\({names}\); map its nam"):
        index(nih, boxes=f"rsna={tmp_path / 'rsna'}")


@pytest.mark.parametrize("boxes", ["vindr=x", "rsna", "rsna=", "rsna=x,rsna=y"])
def test_a_faulty_option_says_what_is_expected(boxes: str, nih: Path) -> None:
    with pytest.raises(ValueError, match=r"expected NAME=FOLDER, each set once, .*chestx-det10"):
        index(nih, boxes=boxes)


def test_without_the_official_lists_nothing_is_added(nih_tree: NihTree, tmp_path: Path) -> None:
    root = nih_tree([("00000004_000.png", "Mass")], (), None)
    drawn = _chest_x_det(tmp_path / "det", n36200=["Nodule"])
    with pytest.raises(ValueError, match=r"--boxes needs train_val_list.txt and test_list.txt"):
        index(root, boxes=f"chestx-det={drawn}")
