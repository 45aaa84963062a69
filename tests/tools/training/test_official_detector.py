"""A detector of other sets' boxes on NIH's official train part, tested on NIH's own boxes alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builders import write_image
from cxrloc.datasets.prepared.coco import load_coco
from cxrloc.datasets.provenance.image_lists import read_training_images
from cxrloc.datasets.provenance.leakage import audit_model, read_image_list
from cxrloc.datasets.provenance.sidecar import read_provenance
from cxrloc.tools import prepare_data, train_maskrcnn
from datasets.conftest import BOX_HEADER, V2020_HEADER

TRAIN = [f"{patient:08d}_000.png" for patient in range(1, 9)]
TEST = [f"{patient:08d}_000.png" for patient in range(21, 25)]
SMALL = ["--size=64", "--model.fpn_levels=[3,4,5]", "--model.anchor_sizes=[.2,.3,.4,.7]"]
SMALL += ["--model.fpn_channels=32", "--model.box_hidden=32", "--model.mask_channels=16"]
SMALL += ["--train.precision=fp32", "--train.device=cpu", "--train.threads=1", "--train.epochs=1"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NIH with boxes on its test part, and ChestX-Det's polygons on train and test images."""
    root = tmp_path_factory.mktemp("nih")
    rows = [f"{image},Mass,0,{int(image[:8])},58,M,PA,1,1,1,1" for image in (*TRAIN, *TEST)]
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join([V2020_HEADER, *rows]) + "\n")
    boxes = [f"{image},Mass,256,256,512,512,,," for image in TEST]
    (root / "BBox_List_2017.csv").write_text("\n".join([BOX_HEADER, *boxes]) + "\n")
    (root / "train_val_list.txt").write_text("\n".join(TRAIN))
    (root / "test_list.txt").write_text("\n".join(TEST))
    for number, image in enumerate((*TRAIN, *TEST)):
        write_image(root / "images" / image, 60 + 9 * number, (64, 64), corner=0)
    triangle = {"boxes": [[100, 100, 900, 900]], "polygons": [[[100, 100], [900, 100], [100, 900]]]}
    entries = [{"file_name": image, "syms": ["Mass"], **triangle} for image in (*TRAIN, TEST[0])]
    (root / "det").mkdir()
    (root / "det" / "ChestX_Det_train.json").write_text(json.dumps(entries))
    out = root / "prepared"
    arguments = ["--dataset", "nih", "--root", str(root), "--out", str(out), "--workers", "1"]
    assert prepare_data.main([*arguments, "--boxes", f"chestx-det={root / 'det'}"]) == 0
    return out


@pytest.fixture(scope="module")
def run(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    arguments = [f"--data.prepared={prepared}", f"--out={out}", "--data.split=official", *SMALL]
    assert train_maskrcnn.main(arguments) == 0
    return out


@pytest.mark.slow
def test_it_trains_on_the_train_part_and_predicts_the_test_part(run: Path) -> None:
    images = read_training_images(run / "training_images.csv")
    assert images.parts == {"train": tuple(TRAIN)}
    for name in ("mask_rcnn.json", "mask_rcnn_mask_box.json"):
        provenance = read_provenance(run / name)
        assert provenance is not None
        assert provenance.images_by_model == {"all": tuple(TEST)}
        assert provenance.training("all").patient_of == images.patient_of
    assert json.loads((run / "coco_ap.json").read_text())["images"] == len(TEST)


@pytest.mark.slow
def test_the_ground_truth_of_the_test_part_has_nihs_boxes_and_no_trained_patient(
    prepared: Path, run: Path
) -> None:
    path = prepared / "ground_truth_test.json"
    coco, truth = load_coco(path), read_image_list(path)
    assert [image["file_name"] for image in coco["images"]] == TEST
    assert [a["bbox"] for a in coco["annotations"]] == [[256, 256, 512, 512]] * len(TEST)
    provenance = read_provenance(run / "mask_rcnn.json")
    assert provenance is not None
    assert not audit_model(provenance, "all", truth, truth.patient_of).leaked
