"""cxrloc localize on another data set than the models', and what the comparison says of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from builders import prepare
from cxrloc.classification.inference.gate_table import read_gate_table
from cxrloc.datasets.prepared.coco import load_coco
from cxrloc.datasets.prepared.folder import load_prepared
from cxrloc.datasets.provenance.image_lists import write_training_images
from cxrloc.datasets.radiograph import Box, Radiograph
from cxrloc.localization.analyses.leakage import audits, external_validation
from cxrloc.localization.comparison_report.inputs import InputFiles, read_inputs
from cxrloc.localization.evaluation.evaluated import Evaluated
from tools.prediction.localizing import PER_FOLD, K, images_of, localize

MAP = "Mass: Lung Opacity\nNodule: Lung Opacity\nEffusion: null\n"
GRAD_CAM = ("--localizer", "grad_cam", "--gate")


@pytest.fixture
def trained(prepared: Path, run_folder: Path) -> Path:
    """The run of three folds, with the lists of its training images."""
    data = load_prepared(prepared)
    for fold in range(K):
        seen = [r for r in data.radiographs if data.folds[r.image_id] != fold]
        bundle = run_folder / f"fold{fold}" / "classifier.safetensors"
        write_training_images(bundle, {"train": seen})
    return run_folder


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Four images of another data set, with boxes under other names."""
    images = []
    for number in range(4):
        path = tmp_path / "other_images" / f"other_{number}.png"
        path.parent.mkdir(exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 255, (128, 128), dtype=np.uint8)
        cv2.imwrite(str(path), noise)
        boxes = [Box("Lung Opacity", (10, 20, 900, 980)), Box("Fracture", (30, 30, 50, 60))]
        images.append(Radiograph(path.name, path, f"q{number}", "PA", {}, tuple(boxes)))
    folds = {image.image_id: number % 3 for number, image in enumerate(images)}
    names = ["Lung Opacity", "Fracture"]
    return prepare(tmp_path / "other", images, folds, boxed_diseases=names, k=3)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    (tmp_path / "map.yaml").write_text(MAP)
    return tmp_path / "map.yaml"


def test_a_model_of_another_data_set_answers_under_its_names_and_the_rest_is_not_scored(
    trained: Path, other: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out = localize(other, *GRAD_CAM, trained, "--labels", labels)
    assert status == 0
    assert "does not know Fracture: no boxes" in capsys.readouterr().err
    entries = json.loads(out.read_text())
    assert {entry["category"] for entry in entries} == {"Lung Opacity"}  # of Mass and of Nodule
    assert len(images_of(out)) == 4
    record = json.loads(out.with_suffix(".manifest.json").read_text())
    assert list(record["images"]) == ["fold0"]  # no model has seen them: the first predicts all
    assert record["out_of_fold"] is False
    assert record["external"]["labels"] == {
        "Mass": "Lung Opacity",
        "Nodule": "Lung Opacity",
        "Effusion": None,
    }

    inputs = read_inputs(InputFiles(other / "ground_truth.json", {"cam": out}), resamples=20)
    assert inputs.truth.disease_names == ("Lung Opacity",)
    assert len(inputs.truth) == 4
    assert {
        "external validation: cam learned from another data set (not recorded)",
        "not scored, since cam (trained on another data set) cannot predict it: Fracture (4 boxes)",
    } <= set(inputs.truth.notes)
    evaluated = Evaluated(inputs)
    assert [audit.status for audit in evaluated.once(audits)] == ["clean"]
    section = external_validation(evaluated)
    assert section is not None
    (row,) = section.tables[0].rows
    assert row.cells == {"training images": 6, "training patients": 6}
    assert row.trail["predicted diseases"] == "Mass as Lung Opacity; Nodule as Lung Opacity"
    assert (row.trail["not asked"], row.trail["not scored"]) == ("Effusion", "Fracture")


def test_the_gates_decisions_are_written_beside_the_boxes_and_gate_the_comparison(
    trained: Path, other: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out = localize(other, *GRAD_CAM, trained, "--labels", labels)
    assert status == 0
    gate = out.with_suffix(".gate.csv")
    assert f"{gate} holds the gate's decisions" in capsys.readouterr().out
    entries = json.loads(out.read_text())
    rows = read_gate_table(gate)
    assert {row.image_id: (row.probability, row.threshold, row.present) for row in rows} == {
        e["file_name"]: (e["gate_probability"], e["gate_threshold"], e["gate_present"])
        for e in entries
    }
    assert [(row.patient_id, row.disease, row.fold) for row in rows] == [
        (f"q{number}", "Lung Opacity", None) for number in range(4)
    ]

    foreign = out.with_name("foreign.json")  # knows every disease; the gate alone has a sidecar
    foreign.write_bytes(out.read_bytes())
    files = InputFiles(other / "ground_truth.json", {"theirs": foreign}, gate=gate)
    inputs = read_inputs(files, resamples=20)
    assert inputs.truth.disease_names == ("Lung Opacity",)
    assert inputs.gate is not None
    assert inputs.gate.on_boxes(inputs.truth).tolist() == [row.present for row in rows]
    evaluated = Evaluated(inputs)
    statuses = {audit.localizer: audit.status for audit in evaluated.once(audits)}
    assert statuses == {"theirs": "not known", "gate": "clean"}
    section = external_validation(evaluated)
    assert section is not None
    assert [row.lead["localizer"] for row in section.tables[0].rows] == ["gate"]


def test_each_image_is_predicted_by_a_model_that_has_not_seen_its_patient(
    prepared: Path, trained: Path, tmp_path: Path
) -> None:
    status, out = localize(renamed(prepared, tmp_path), *GRAD_CAM, trained, "--external", "true")
    assert status == 0
    record = json.loads(out.with_suffix(".manifest.json").read_text())
    assert record["images"] == {
        f"fold{fold}": [_copy(PER_FOLD * fold), _copy(PER_FOLD * fold + 1)] for fold in range(K)
    }


def _copy(number: int) -> str:
    """An image's name as Roboflow exports it."""
    return f"{number:08d}_000_png.rf.0a1b2c.jpg"


def renamed(prepared: Path, root: Path) -> Path:
    """The same images of unknown patients, in other folds."""
    images = [
        replace(r, image_id=_copy(n), patient_id=_copy(n), patient_known=False)
        for n, r in enumerate(load_prepared(prepared).radiographs)
    ]
    folds = {image.image_id: n % K for n, image in enumerate(images)}
    return prepare(root / "renamed", images, folds, boxed_diseases=["Mass", "Nodule"], k=K)


def test_an_image_that_every_model_has_seen_is_refused_or_left_out_of_the_ground_truth(
    trained: Path, other: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = load_prepared(other)
    for fold in range(K):
        bundle = trained / f"fold{fold}" / "classifier.safetensors"
        write_training_images(bundle, {"train": [data.radiographs[0]]})
    arguments = (*GRAD_CAM, trained, "--labels", labels)
    status, out = localize(other, *arguments)
    assert status == 2
    assert "1 of 4 images show patients whom every model" in capsys.readouterr().err
    assert not out.exists()
    assert localize(other, *arguments, "--seen", "leave_out")[0] == 0
    assert images_of(out) == ["other_1.png", "other_2.png", "other_3.png"]
    rest = load_coco(out.with_suffix(".ground_truth.json"))
    assert [image["file_name"] for image in rest["images"]] == images_of(out)
    assert len(rest["annotations"]) == 6


@pytest.fixture
def detectors(tmp_path: Path, detector: Path) -> Path:
    """Two folds of a Mask R-CNN, each with the list of an image that it was trained on."""
    seen = [Radiograph(f"seen_{fold}.png", None, f"s{fold}", "PA", {}) for fold in range(2)]
    for fold in range(2):
        path = tmp_path / "detectors" / f"fold{fold}" / detector.name
        path.parent.mkdir(parents=True)
        path.symlink_to(detector)
        write_training_images(path, {"train": [seen[fold]]})
    return tmp_path / "detectors"


def test_an_ensemble_fuses_all_models_that_have_not_seen_the_patients(
    detectors: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "to.yaml").write_text("Mass: Lung Opacity\nEffusion: null\n")
    mask_rcnn = ("--localizer", "mask_rcnn", "--maskrcnn", detectors)
    arguments = (*mask_rcnn, "--labels", tmp_path / "to.yaml", "--precision", "fp32")
    assert localize(other, *arguments)[0] == 0
    alone = json.loads((other.parent / "boxes.json").read_text())
    status, out = localize(other, *arguments, "--ensemble", "true", "--sizes", "96", "128")
    assert status == 0
    record = json.loads(out.with_suffix(".manifest.json").read_text())
    assert {model: len(images) for model, images in record["images"].items()} == {
        "fold0": 4,
        "fold1": 4,
    }
    assert len(record["models"]) == 2
    boxes = json.loads(out.read_text())
    assert {entry["file_name"] for entry in boxes} == {f"other_{n}.png" for n in range(4)}
    assert [b["bbox"] for b in boxes] != [b["bbox"] for b in alone]
    inputs = read_inputs(InputFiles(other / "ground_truth.json", {"both": out}), resamples=20)
    (audit,) = Evaluated(inputs).once(audits)
    assert (audit.status, audit.images) == ("clean", 4)

    write_training_images(
        detectors / "fold1" / "maskrcnn.safetensors",
        {"train": [load_prepared(other).radiographs[0]]},
    )
    capsys.readouterr()
    assert localize(other, *arguments)[0] == 0  # the first model has not seen it
    assert localize(other, *arguments, "--ensemble", "true")[0] == 2
    assert "1 of 4 images show patients whom at least one model" in capsys.readouterr().err
    assert localize(other, *arguments, "--ensemble", "true", "--seen", "leave_out")[0] == 0
    assert images_of(out) == ["other_1.png", "other_2.png", "other_3.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Mass: Lung Opacity\n", "the name 'Nodule' is not in"),
        (MAP.replace("null", "Pleural Effusion"), "becomes 'Pleural Effusion', which the ground"),
    ],
)
def test_a_map_that_does_not_fit_the_model_or_the_ground_truth_is_refused(
    trained: Path,
    other: Path,
    labels: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    message: str,
) -> None:
    labels.write_text(text)
    assert localize(other, *GRAD_CAM, trained, "--labels", labels)[0] == 2
    assert message in capsys.readouterr().err


def test_maps_of_merged_diseases_are_refused(
    trained: Path, other: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (*GRAD_CAM, trained, "--maps", other.parent / "x.maps.safetensors")
    assert localize(other, *arguments, "--labels", labels)[0] == 2
    assert "Mass, Nodule all become Lung Opacity" in capsys.readouterr().err
    labels.write_text('Mass: Lung Opacity\n"*": null\n')
    assert localize(other, *arguments, "--labels", labels)[0] == 0
