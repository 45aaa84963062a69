"""The prediction tool on tiny networks: files, names, failures, exit statuses."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from cxrloc.classification.bundle.classifier import ClassifierBundle, save_classifier
from cxrloc.classification.bundle.file import write_bundle
from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.network.classifier import build_classifier
from cxrloc.datasets.images.read import read_grey
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.detection.config import DetectorConfig, Init, ModelConfig
from cxrloc.detection.mask_rcnn import MaskRCNNLocalizer, bundle_metadata
from cxrloc.detection.torchvision_backend.initial_weights import build_detector
from cxrloc.localization.boxes import xyxy_to_xywh
from cxrloc.tools import predict

DISEASES = ("Mass", "Effusion")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An untrained classifier: `all` diseases pass its thresholds, or `none` does."""
    torch.manual_seed(0)
    model, _ = build_classifier("resnet18", len(DISEASES), weights="none")
    folder = tmp_path_factory.mktemp("bundles")
    paths = {}
    for name, threshold in (("all", 0.0), ("none", 1.0)):
        paths[name] = folder / f"{name}.safetensors"
        bundle = ClassifierBundle(
            model.eval(),
            DISEASES,
            dict.fromkeys(DISEASES, threshold),
            Preprocessing(96, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
            dict.fromkeys(DISEASES, (0.3, 0.3)),
            {},
            {},
        )
        save_classifier(paths[name], bundle)
    return paths


def _image(path: Path, seed: int = 0, size_hw: tuple[int, int] = (120, 100)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (6, 5), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(noise, size_hw[::-1], interpolation=cv2.INTER_CUBIC))
    return path


def _run(bundle: Path, inputs: Sequence[Path], out: Path, *more: str) -> int:
    arguments = ["--classifier", str(bundle), *map(str, inputs), "--out", str(out), *more]
    return predict.main(arguments)


def _counts(capsys: pytest.CaptureFixture[str]) -> str:
    """How many images the last run says that it found and did."""
    return capsys.readouterr().out.partition(" (")[0]


@pytest.mark.slow
def test_a_image_gets_two_pictures_and_a_json_with_boxes_in_its_own_frame(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    assert _run(bundles["all"], [_image(tmp_path / "a.png")], tmp_path / "out") == 0

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
    assert _run(bundles["none"], [_image(tmp_path / "a.png")], tmp_path / "out") == 0

    record = json.loads((tmp_path / "out" / "a.json").read_text())
    assert record["annotations"] == []
    assert record["message"] == "No disease passed the gate: no boxes."


@pytest.mark.slow
def test_unreadable_inputs_are_reported_and_the_rest_go_on(
    bundles: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images"
    _image(images / "good.png")
    (images / "bad.png").write_bytes(b"not a picture")
    (tmp_path / "empty").mkdir()
    inputs = [images, tmp_path / "absent.png", tmp_path / "empty"]

    assert _run(bundles["none"], inputs, tmp_path / "out") == 1

    assert (tmp_path / "out" / "good.json").is_file()
    assert not (tmp_path / "out" / "bad.json").exists()
    printed = capsys.readouterr()
    assert "bad.png" in printed.err
    assert "absent.png: no such file or folder" in printed.err
    assert "empty: no image in this folder" in printed.err
    assert "2 images found: 0 done already, 1 done now (0 with a disease" in printed.out
    assert "3 failures" in printed.out


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained Mask R-CNN: it returns a box for every disease all the same."""
    model = ModelConfig(
        fpn_levels=(4, 5), anchor_sizes=(0.2, 0.4, 0.6), fpn_channels=16, box_hidden=16
    )
    config = DetectorConfig(size=96, diseases=DISEASES, model=model)
    network, _ = build_detector(config, Init())
    network.eval().fold_norms()
    path = tmp_path_factory.mktemp("detector") / "maskrcnn.safetensors"
    write_bundle(path, network.state_dict(), bundle_metadata(config, {}))
    return path


@pytest.mark.slow
def test_the_second_localizer_is_drawn_beside_the_first(
    bundles: dict[str, Path], detector: Path, tmp_path: Path
) -> None:
    images = [_image(tmp_path / "a.png")]
    assert _run(bundles["all"], images, tmp_path / "out", "--maskrcnn", str(detector)) == 0

    record = json.loads((tmp_path / "out" / "a.json").read_text())
    assert record["localizers"] == ["grad_cam", "mask_rcnn"]
    found = [a for a in record["annotations"] if a["localizer"] == "mask_rcnn"]
    assert {a["category_id"] for a in found} == {1, 2}
    image = LoadedImage("a.png", read_grey(images[0]), (120, 100))
    expected = MaskRCNNLocalizer(detector).localize([image], DISEASES).boxes
    assert sorted(a["score"] for a in found) == pytest.approx(sorted(e.score for e in expected))
    boxes = xyxy_to_xywh([e.box_xyxy for e in expected])
    np.testing.assert_allclose(sorted(a["bbox"] for a in found), sorted(boxes.tolist()))
    picture: Any = cv2.imread(str(tmp_path / "out" / "a.boxes.jpg"))
    for bgr in ((0, 159, 230), (233, 180, 86)):  # orange and sky blue
        assert (np.abs(picture.astype(int) - bgr).max(axis=2) < 12).any()


@pytest.mark.slow
def test_the_gate_keeps_the_second_localizer_quiet_too(
    bundles: dict[str, Path], detector: Path, tmp_path: Path
) -> None:
    images = [_image(tmp_path / "a.png")]
    assert _run(bundles["none"], images, tmp_path / "out", "--maskrcnn", str(detector)) == 0
    assert json.loads((tmp_path / "out" / "a.json").read_text())["annotations"] == []


@pytest.mark.slow
def test_the_same_command_again_leaves_what_is_done_and_does_the_rest(
    bundles: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    for seed, name in enumerate(("a.png", "b.png", "c.png")):
        _image(images / name, seed)
    assert _run(bundles["all"], [images], out) == 0
    (out / "b.json").unlink()  # as if killed before b's JSON, which is written last
    _image(images / "c.png", seed=7)  # another image of the old name
    (out / "a.boxes.jpg").write_bytes(b"left as it is")
    stale = {name: (out / f"{name}.boxes.jpg").read_bytes() for name in "abc"}
    capsys.readouterr()

    assert _run(bundles["all"], [images], out) == 0

    assert _counts(capsys) == "3 images found: 1 done already, 2 done now"
    again = {name: (out / f"{name}.boxes.jpg").read_bytes() for name in "abc"}
    assert (out / "b.json").is_file()
    assert again["a"] == b"left as it is"
    assert again["c"] != stale["c"]
    assert _run(bundles["all"], [images], out) == 0
    assert _counts(capsys) == "3 images found: 3 done already, 0 done now"


@pytest.mark.slow
def test_an_interrupted_run_says_what_is_done_and_the_next_one_does_the_rest(
    bundles: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for seed, name in enumerate(("a.png", "b.png", "c.png")):
        _image(tmp_path / "images" / name, seed)

    def stopped_at_c(path: Path) -> bytes:
        if path.name == "c.png":
            raise KeyboardInterrupt
        return path.read_bytes()

    with monkeypatch.context() as patched:
        patched.setattr(predict, "read_bytes", stopped_at_c)
        assert _run(bundles["none"], [tmp_path / "images"], tmp_path / "out") == 130
    assert _counts(capsys) == "3 images found: 0 done already, 2 done now"
    assert _run(bundles["none"], [tmp_path / "images"], tmp_path / "out") == 0
    assert _counts(capsys) == "3 images found: 2 done already, 1 done now"


def test_an_interrupt_while_the_models_load_is_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(predict, "_diagnoser", interrupted)
    assert _run(tmp_path / "x.safetensors", [tmp_path], tmp_path / "out") == 130
    assert "predict: interrupted; the same command does the rest" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_empty_name_is_not_the_current_folder(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        predict.main(["--classifier", "x", "", "--out", "out"])
    assert "an empty name; expected an image or a folder" in capsys.readouterr().err


@pytest.mark.slow
def test_a_full_disk_is_said(
    bundles: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(path: Path, record: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(predict, "write_json", full)
    (tmp_path / "0.png").write_bytes(b"no picture")
    images = [tmp_path / "0.png", _image(tmp_path / "a.png"), _image(tmp_path / "b.png")]
    assert _run(bundles["none"], images, tmp_path / "out") == 2
    printed = capsys.readouterr()
    assert "predict: error: writing to " in printed.err
    assert "No space left on device" in printed.err
    assert "3 images found: 0 done already, 0 done now" in printed.out
    assert f"not done: cannot read image {tmp_path / '0.png'}" in printed.err


@pytest.mark.slow
def test_an_interrupt_after_the_last_image_says_that_the_rest_can_be_done(
    bundles: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(predict, "_write_studies", interrupted)
    assert _run(bundles["none"], [_image(tmp_path / "a.png")], tmp_path / "out") == 130
    printed = capsys.readouterr()
    assert "1 done now" in printed.out
    assert "the same command does the rest" in printed.err
    assert "nothing was done" not in printed.err


@pytest.mark.slow
def test_folders_stay_out_of_the_json_and_odd_images_are_warned_about(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    """Archives call folders after patients."""
    black, tiny = tmp_path / "MEIER^ANNA" / "black.png", tmp_path / "MEIER^ANNA" / "tiny.png"
    black.parent.mkdir()
    cv2.imwrite(str(black), np.zeros((300, 300), np.uint8))
    _image(tiny, size_hw=(1024, 3))

    assert _run(bundles["none"], [tmp_path / "MEIER^ANNA"], tmp_path / "out") == 0

    said = {name: (tmp_path / "out" / f"{name}.json").read_text() for name in ("black", "tiny")}
    assert "MEIER" not in "".join(said.values())
    assert "No contrast: every pixel has the grey 0 of 0 to 255." in said["black"]
    assert "Small: 3 x 1024 pixels" in said["tiny"]


@pytest.mark.slow
def test_images_in_muras_layout_also_get_one_answer_a_study_and_the_same_from_a_second_run(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    images, out = tmp_path / "valid", tmp_path / "out"
    hand, wrist = "XR_HAND/patient7/study1_positive", "XR_WRIST/patient7/study1_negative"
    for seed, name in enumerate((f"{hand}/image1", f"{hand}/image2", f"{wrist}/image1")):
        _image(images / f"{name}.png", seed)
    (images / hand / "image3.png").write_bytes(b"no picture")
    (images / hand / "._image1.png").write_bytes(b"what macOS leaves")
    _image(images / "other" / "image1.png", 9)
    assert _run(bundles["none"], [images], out) == 1

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
    _image(images / "XR_ELBOW/patient1/study1/image1.png", 5)
    assert _run(bundles["none"], [images], out) == 1
    again = pd.read_csv(out / "study_predictions.csv", comment="#")
    assert again["study"].tolist()[:2] == ["XR_ELBOW/patient1/study1"] * 2
    assert again[2:].reset_index(drop=True).equals(table)

    assert _run(bundles["none"], [images / "other"], out) == 0
    assert not (out / "study_predictions.csv").exists()  # it would be of another command's images


@pytest.mark.slow
def test_another_model_or_setting_does_every_image_again(
    bundles: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, out = _image(tmp_path / "a.png"), tmp_path / "out"
    assert _run(bundles["all"], [image], out) == 0
    capsys.readouterr()
    assert _run(bundles["none"], [image], out) == 0
    assert _counts(capsys) == "1 images found: 0 done already, 1 done now"
    assert json.loads((out / "a.json").read_text())["annotations"] == []
    assert _run(bundles["none"], [image], out, "--precision", "bf16") == 0
    assert _counts(capsys) == "1 images found: 0 done already, 1 done now"
    assert json.loads((out / "a.json").read_text())["runtime"] == "torch bf16 on cpu"


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

    assert "--classifier" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "arguments", [[], ["--out", "o", "a.png"], ["--classifier", "c", "--out", "o"]]
)
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        predict.main(arguments)

    assert end.value.code == 2


def test_a_missing_or_wrong_bundle_is_status_2_before_any_image_is_read(
    bundles: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = _image(tmp_path / "a.png")

    assert _run(tmp_path / "no.safetensors", [image], tmp_path / "out") == 2
    assert "no.safetensors" in capsys.readouterr().err
    wrong = ("--maskrcnn", str(bundles["none"]))
    assert _run(bundles["none"], [image], tmp_path / "out", *wrong) == 2
    assert "classifier" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_images_of_any_name_that_a_file_may_have_are_predicted(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    images = tmp_path / "images"
    data = _image(images / "a.png").read_bytes()
    names = ("line\nbreak.png", "\udcff.png", f"{240 * 'x'}1.png", f"{240 * 'x'}2.png")
    for name in names:
        (images / name).write_bytes(data)

    assert _run(bundles["none"], [images], tmp_path / "out") == 0

    assert len(list((tmp_path / "out").glob("*.json"))) == 5
