"""cxrloc predict on a prepared folder of another data set, under its names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builders import prepare
from cxrloc.datasets.radiograph import Box, Radiograph
from tools.prediction.predicting import counts, draw_image, run

MERGED = "Mass: Lung Opacity\nEffusion: Lung Opacity\n"
ALONE = "Mass: null\nEffusion: Pleural Effusion\n"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Two prepared images; a third lies beside them and is not listed."""
    paths = [draw_image(tmp_path / "images" / f"{name}.png", ord(name)) for name in "abc"]
    boxes = (Box("Lung Opacity", (10, 20, 60, 80)),)
    images = [Radiograph(p.name, p, p.stem, "PA", {}, boxes, (120, 100)) for p in paths[:2]]
    folds = {image.image_id: number for number, image in enumerate(images)}
    return prepare(tmp_path / "other", images, folds, boxed_diseases=["Lung Opacity"], k=2)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    (tmp_path / "map.yaml").write_text(MERGED)
    return tmp_path / "map.yaml"


@pytest.mark.slow
def test_a_prepared_folder_is_predicted_under_the_names_of_its_data_set(
    bundles: dict[str, Path],
    detector: Path,
    other: Path,
    labels: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    more = ("--maskrcnn", str(detector), "--labels", str(labels), "--export", "coco")
    assert run(bundles["all"], [other], out, *more) == 0

    printed = capsys.readouterr().out
    assert "2 images found: 0 done already, 2 done now (2 with a disease" in printed
    assert "Lung Opacity 0." in printed
    assert "Mass" not in printed
    record = json.loads((out / "a.json").read_text())
    assert record["categories"] == [{"id": 1, "name": "Lung Opacity"}]
    assert [finding["disease"] for finding in record["findings"]] == ["Lung Opacity"]
    assert record["message"] == "Passed the gate: Lung Opacity."
    assert {a["localizer"] for a in record["annotations"]} == {"grad_cam", "mask_rcnn"}
    assert {a["category_id"] for a in record["annotations"]} == {1}
    assert record["manifest"]["config"]["labels"] == {
        "Mass": "Lung Opacity",
        "Effusion": "Lung Opacity",
    }
    (exported,) = (out / "export_coco").rglob("*.json")
    names = [category["name"] for category in json.loads(exported.read_text())["categories"]]
    assert names == ["Lung Opacity"]

    assert run(bundles["all"], [other], out, *more) == 0
    assert counts(capsys) == "2 images found: 2 done already, 0 done now"
    labels.write_text(ALONE)
    assert run(bundles["all"], [other], out, *more) == 0
    assert counts(capsys) == "2 images found: 0 done already, 2 done now"
    record = json.loads((out / "a.json").read_text())
    assert [finding["disease"] for finding in record["findings"]] == ["Pleural Effusion"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Mass: Lung Opacity\n", "the name 'Effusion' is not in"),
        ("Mass: null\n'*': null\n", "leaves out all diseases of the gate: Mass, Effusion"),
    ],
)
def test_a_map_that_does_not_fit_the_gate_is_refused(
    bundles: dict[str, Path],
    labels: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    message: str,
) -> None:
    labels.write_text(text)
    image = draw_image(tmp_path / "a.png")
    assert run(bundles["all"], [image], tmp_path / "out", "--labels", str(labels)) == 2
    assert message in capsys.readouterr().err


def test_studies_under_a_merged_name_are_refused(
    bundles: dict[str, Path], labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = draw_image(tmp_path / "XR_HAND/patient7/study1_positive/image1.png")
    assert run(bundles["all"], [image], tmp_path / "out", "--labels", str(labels)) == 2
    assert "Mass, Effusion all become Lung Opacity, which has no" in capsys.readouterr().err


def test_an_unfinished_or_empty_prepared_folder_is_refused(
    bundles: dict[str, Path], other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (other / "manifest.json").unlink()
    assert run(bundles["all"], [other], tmp_path / "out") == 2
    assert "lacks manifest.json (interrupted?)" in capsys.readouterr().err
    empty = prepare(tmp_path / "empty", [], {}, boxed_diseases=["Mass"], k=2)
    assert run(bundles["all"], [empty], tmp_path / "out") == 2
    assert "is a prepared folder, but lists no image" in capsys.readouterr().err
