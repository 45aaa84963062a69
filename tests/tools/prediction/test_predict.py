"""The prediction tool on tiny networks: files, names, failures, exit statuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from cxrloc.datasets.images.read import read_grey
from cxrloc.datasets.provenance.image_lists import write_training_images
from cxrloc.datasets.radiograph import LoadedImage, Radiograph
from cxrloc.detection.mask_rcnn import MaskRCNNLocalizer
from cxrloc.localization.boxes import xyxy_to_xywh
from cxrloc.tools import predict
from tools.prediction.predicting import DISEASES, draw_image, run


@pytest.mark.slow
def test_a_image_gets_two_pictures_and_a_json_with_boxes_in_its_own_frame(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    assert run(bundles["all"], [draw_image(tmp_path / "a.png")], tmp_path / "out") == 0

    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["a.boxes.jpg", "a.heat.jpg", "a.json"]
    record = json.loads((tmp_path / "out" / "a.json").read_text())
    assert record["images"] == [{"id": 1, "file_name": "a.png", "width": 100, "height": 120}]
    assert [f["disease"] for f in record["findings"] if f["present"]] == list(DISEASES)
    assert {a["localizer"] for a in record["annotations"]} == {"grad_cam"}
    for annotation in record["annotations"]:
        x, y, w, h = annotation["bbox"]
        assert min(x, y) >= 0
        assert x + w <= 100
        assert y + h <= 120
    assert "Research use only, never a diagnosis" in record["research_use"]
    assert set(record["manifest"]["hashes"]) == {"classifier"}
    picture = cv2.imread(str(tmp_path / "out" / "a.boxes.jpg"))
    assert picture is not None
    assert picture.shape[0] >= 1000


@pytest.mark.slow
def test_a_image_that_nothing_passes_on_has_no_box_and_says_so(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    assert run(bundles["none"], [draw_image(tmp_path / "a.png")], tmp_path / "out") == 0

    record = json.loads((tmp_path / "out" / "a.json").read_text())
    assert record["annotations"] == []
    assert record["message"] == "No disease passed the gate: no boxes."


@pytest.mark.slow
def test_unreadable_inputs_are_reported_and_the_rest_go_on(
    bundles: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images"
    draw_image(images / "good.png")
    (images / "bad.png").write_bytes(b"not a picture")
    (images / "scan.tif").write_bytes(b"II*\x00")
    (tmp_path / "empty").mkdir()
    inputs = [images, tmp_path / "absent.png", tmp_path / "empty"]

    assert run(bundles["none"], inputs, tmp_path / "out") == 1

    assert (tmp_path / "out" / "good.json").is_file()
    assert not (tmp_path / "out" / "bad.json").exists()
    printed = capsys.readouterr()
    assert "bad.png" in printed.err
    assert "absent.png: no such file or folder" in printed.err
    assert "empty: no images in this folder" in printed.err
    passed_over = "1 of 3 files are no images that are read: scan.tif (TIFF)"
    assert f"predict: {images}: {passed_over}" in printed.err
    assert "2 images found: 0 done already, 1 done now (0 with a disease" in printed.out
    assert "3 failures" in printed.out
    table = [line.split() for line in printed.out.splitlines()]
    assert table[2:4] == [
        ["image", "findings", "(probability)", "boxes"],
        ["good.png", "none", "-"],
    ]
    assert f"are in {tmp_path / 'out'}" in printed.out.splitlines()[-1]
    # where no image could be predicted, no files are promised
    assert run(bundles["none"], [images / "bad.png"], tmp_path / "nothing") == 1
    assert capsys.readouterr().out.splitlines()[-1] == "Nothing was written."
    assert not [*(tmp_path / "nothing").glob("*")]


@pytest.mark.slow
def test_the_second_localizer_is_drawn_beside_the_first(
    bundles: dict[str, Path], detector: Path, tmp_path: Path
) -> None:
    images = [draw_image(tmp_path / "a.png")]
    assert run(bundles["all"], images, tmp_path / "out", "--maskrcnn", str(detector)) == 0

    record = json.loads((tmp_path / "out" / "a.json").read_text())
    assert record["localizers"] == ["grad_cam", "mask_rcnn"]
    boxes_of_detector = [a for a in record["annotations"] if a["localizer"] == "mask_rcnn"]
    assert {a["category_id"] for a in boxes_of_detector} == {1, 2}
    image = LoadedImage("a.png", read_grey(images[0]), (120, 100))
    expected = MaskRCNNLocalizer(detector).localize([image], DISEASES).boxes
    assert sorted(a["score"] for a in boxes_of_detector) == pytest.approx(
        sorted(e.score for e in expected)
    )
    boxes = xyxy_to_xywh([e.box_xyxy for e in expected])
    np.testing.assert_allclose(sorted(a["bbox"] for a in boxes_of_detector), sorted(boxes.tolist()))
    picture: Any = cv2.imread(str(tmp_path / "out" / "a.boxes.jpg"))
    for bgr in ((0, 159, 230), (233, 180, 86)):  # orange and sky blue
        assert (np.abs(picture.astype(int) - bgr).max(axis=2) < 12).any()


def test_several_models_and_sizes_of_the_second_localizer_are_fused(
    bundles: dict[str, Path], detector: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folds = [tmp_path / "run" / f"fold{fold}" / detector.name for fold in range(2)]
    for fold in folds:
        fold.parent.mkdir(parents=True)
        fold.symlink_to(detector)
    images = [draw_image(tmp_path / "a.png")]
    out, maskrcnn = tmp_path / "out", ("--maskrcnn", str(tmp_path / "run"))
    fused = (*maskrcnn, "--ensemble", "--sizes", "96", "128")
    assert run(bundles["all"], images, out, *maskrcnn) == 2
    error = capsys.readouterr().err
    assert f"holds 2 trained models; name one, such as {folds[0]}, or give --ensemble" in error
    assert run(bundles["all"], images, out, *fused) == 0
    record = json.loads((out / "a.json").read_text())
    assert "mask_rcnn 4 x torch" in record["runtime"]
    assert {"maskrcnn_0", "maskrcnn_1"} <= set(record["manifest"]["hashes"])
    assert any(a["localizer"] == "mask_rcnn" for a in record["annotations"])

    seen = Radiograph("a.png", None, "7", "PA", {})
    write_training_images(folds[1], {"train": [seen]})
    assert run(bundles["all"], images, tmp_path / "again", *fused) == 2
    assert "trained or selected on the patients of 1 of the 1 images" in capsys.readouterr().err
    assert run(bundles["all"], images, out, "--ensemble") == 2
    assert "are for the detector; give --maskrcnn too" in capsys.readouterr().err


@pytest.mark.slow
def test_the_gate_keeps_the_second_localizer_quiet_too(
    bundles: dict[str, Path], detector: Path, tmp_path: Path
) -> None:
    images = [draw_image(tmp_path / "a.png")]
    assert run(bundles["none"], images, tmp_path / "out", "--maskrcnn", str(detector)) == 0
    assert json.loads((tmp_path / "out" / "a.json").read_text())["annotations"] == []


def test_an_empty_name_is_not_the_current_folder(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        predict.main(["--gate", "x", "", "--out", "out"])
    assert "an empty name; expected an image or a folder" in capsys.readouterr().err


@pytest.mark.slow
def test_folders_stay_out_of_the_json_and_odd_images_are_refused_or_warned_about(
    bundles: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Archives call folders after patients."""
    black, tiny = tmp_path / "MEIER^ANNA" / "black.png", tmp_path / "MEIER^ANNA" / "tiny.png"
    black.parent.mkdir()
    cv2.imwrite(str(black), np.zeros((300, 300), np.uint8))
    draw_image(tiny, size_hw=(1024, 3))

    folder, out = [tmp_path / "MEIER^ANNA"], tmp_path / "out"
    assert run(bundles["none"], folder, out) == 1
    assert not list(out.glob("*.json"))
    refused = capsys.readouterr().err
    assert refused.count("Not like a frontal chest radiograph (distance ") == 2
    assert refused.count("With --any-image it is predicted.") == 2
    assert run(bundles["none"], folder, out, "--any-image") == 0

    records = {name: (tmp_path / "out" / f"{name}.json").read_text() for name in ("black", "tiny")}
    assert "MEIER" not in "".join(records.values())
    assert "No contrast: every pixel has the grey value 0 (of 0 to 255)." in records["black"]
    assert "Small: 3 x 1024 pixels" in records["tiny"]
    assert all("Not like a frontal chest radiograph" in record for record in records.values())


@pytest.mark.slow
def test_images_in_muras_layout_also_get_one_answer_a_study_and_the_same_from_a_second_run(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    images, out = tmp_path / "valid", tmp_path / "out"
    hand, wrist = "XR_HAND/patient7/study1_positive", "XR_WRIST/patient7/study1_negative"
    for seed, name in enumerate((f"{hand}/image1", f"{hand}/image2", f"{wrist}/image1")):
        draw_image(images / f"{name}.png", seed)
    (images / hand / "image3.png").write_bytes(b"no picture")
    (images / hand / "._image1.png").write_bytes(b"what macOS leaves")
    draw_image(images / "other" / "image1.png", 9)
    assert run(bundles["none"], [images], out) == 1

    table = pd.read_csv(out / "study_predictions.csv", comment="#")
    assert table["study"].tolist() == [hand] * 2 + [wrist] * 2
    assert table["disease"].tolist() == list(DISEASES) * 2
    assert table["images"].tolist() == [2, 2, 1, 1]
    assert table["failed"].tolist() == [1, 1, 0, 0]
    stem = hand.replace("/", "_")
    single = [json.loads((out / f"{stem}_image{n}.json").read_text()) for n in (1, 2)]
    assert single[0]["images"][0]["file_name"] == f"{hand}/image1.png"
    mean = np.mean([[f["probability"] for f in record["findings"]] for record in single], axis=0)
    assert table["probability"].tolist()[:2] == pytest.approx(mean.tolist())
    assert set(table["threshold_from"]) == {"default"}  # a bundle without studies in its validation
    assert table["present"].tolist() == (table["probability"] >= 0.5).astype(int).tolist()
    assert (out / "image1.json").is_file()  # the image outside of the layout keeps its own name
    text = (out / "study_predictions.csv").read_text()
    assert "Research use only, never a diagnosis" in text.splitlines()[0]

    (out / "study_predictions.csv").unlink()
    (out / f"{stem}_image2.json").unlink()  # as if killed there
    draw_image(images / "XR_ELBOW/patient1/study1/image1.png", 5)
    assert run(bundles["none"], [images], out) == 1
    again = pd.read_csv(out / "study_predictions.csv", comment="#")
    assert again["study"].tolist()[:2] == ["XR_ELBOW/patient1/study1"] * 2
    assert again[2:].reset_index(drop=True).equals(table)

    assert run(bundles["none"], [images / "other"], out) == 0
    assert not (out / "study_predictions.csv").exists()  # it would be of another command's images


def test_help_and_wrong_usage_do_not_wait_for_torch() -> None:
    program = (
        "import sys\n"
        "from cxrloc.tools import predict\n"
        "try:\n    predict.main(['--help'])\n"
        "except SystemExit:\n    pass\n"
        "print(sorted({'torch', 'torchvision', 'matplotlib', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert "--gate" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("arguments", [[], ["--out", "o", "a.png"], ["--gate", "c", "--out", "o"]])
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        predict.main(arguments)

    assert end.value.code == 2


def test_a_missing_or_wrong_bundle_is_status_2_before_any_image_is_read(
    bundles: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = draw_image(tmp_path / "a.png")

    assert run(tmp_path / "no.safetensors", [image], tmp_path / "out") == 2
    assert "no.safetensors" in capsys.readouterr().err
    wrong = ("--maskrcnn", str(bundles["none"]))
    assert run(bundles["none"], [image], tmp_path / "out", *wrong) == 2
    assert "classifier" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_images_of_any_name_that_a_file_may_have_are_predicted(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    images = tmp_path / "images"
    data = draw_image(images / "a.png").read_bytes()
    names = ("line\nbreak.png", "\udcff.png", f"{240 * 'x'}1.png", f"{240 * 'x'}2.png")
    for name in names:
        (images / name).write_bytes(data)

    assert run(bundles["none"], [images], tmp_path / "out") == 0

    assert len(list((tmp_path / "out").glob("*.json"))) == 5
