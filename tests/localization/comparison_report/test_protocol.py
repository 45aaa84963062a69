"""A comparison under a protocol: what the sidecars show, the stamp, and the rows of its table."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from cxrloc.datasets.files.manifest import write_json
from cxrloc.datasets.prepared.coco import select_images
from cxrloc.datasets.provenance.sidecar import LookedAt, write_provenance
from cxrloc.localization.comparison_report import inputs as module
from cxrloc.localization.comparison_report.build import build_report
from cxrloc.localization.comparison_report.files import page_of, terminal_text
from cxrloc.localization.comparison_report.inputs import InputFiles, read_inputs
from cxrloc.localization.comparison_report.protocol import columns, protocol_result
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.report.glossary import lookup
from datasets.prepared.protocols.protocol_world import DISEASES, PROTOCOL, coco_of, radiograph

COCO = coco_of(radiograph(50, 0))
Folds = dict[str, int]
FOLDS: Folds = {image["file_name"]: image["fold"] for image in COCO["images"]}


@pytest.fixture(autouse=True)
def _drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_protocol", lambda name: PROTOCOL)


def _results(folder: Path, name: str) -> Path:
    """A results file that repeats the ground truth, but for its last box."""
    rows = [
        {"image_id": a["image_id"], "category_id": a["category_id"], "bbox": a["bbox"], "score": 1}
        for a in COCO["annotations"][:-1]
    ]
    write_json(folder / f"{name}.json", rows)
    return folder / f"{name}.json"


def _model(folder: Path, name: str, trained_on: set[str]) -> Path:
    bundle = folder / name / "model.safetensors"
    bundle.parent.mkdir(parents=True)
    bundle.write_text(name)
    patients = {image["file_name"]: image["patient_id"] for image in COCO["images"]}
    rows = [f"{image},{patients.get(image, '900')},train" for image in sorted(trained_on)]
    text = "\n".join(["image_id,patient_id,part", *rows])
    (bundle.parent / "training_images.csv").write_text(text + "\n")
    return bundle


def _of_folds(folder: Path, name: str, folds: Folds) -> Path:
    """Results whose sidecar tells three models, each trained on the other folds' images."""
    path = _results(folder, name)
    looks = []
    for fold in range(PROTOCOL.k):
        own = {image for image, f in folds.items() if f == fold}
        bundle = _model(folder, f"{name}{fold}", set(folds) - own)
        looks.append(LookedAt(tuple(sorted(own)), bundle, fold))
    write_provenance(path, looks)
    return path


def _of_one(folder: Path, name: str, trained_on: set[str]) -> Path:
    path = _results(folder, name)
    write_provenance(path, [LookedAt(tuple(FOLDS), _model(folder, f"{name}0", trained_on))])
    return path


def _evaluated(folder: Path, coco: dict[str, Any] | None = None, **files: Path) -> Evaluated:
    write_json(folder / "gt.json", coco or COCO)
    asked = InputFiles(folder / "gt.json", files, protocol="drawn-v1")
    return Evaluated(read_inputs(asked, resamples=PROTOCOL.resamples, seed=0))


def _turned() -> Folds:
    """Other folds by patient: each is the next one."""
    return {image: (fold + 1) % PROTOCOL.k for image, fold in FOLDS.items()}


def test_each_localizer_says_what_its_sidecar_shows(tmp_path: Path) -> None:
    evaluated = _evaluated(
        tmp_path,
        own=_of_folds(tmp_path, "own", FOLDS),
        others=_of_folds(tmp_path, "others", _turned()),
        apart=_of_one(tmp_path, "apart", {"00000900_000.png"}),
        leaked=_of_one(tmp_path, "leaked", {"00000003_000.png"}),
        foreign=_results(tmp_path, "foreign"),
    )

    result = protocol_result(evaluated)

    assert result is not None
    rows = {row.scored.name: row for row in result.rows}
    assert (rows["own"].training, rows["own"].status) == ("out of fold", "complete")
    assert (rows["apart"].training, rows["apart"].status) == ("other patients", "complete")
    assert rows["foreign"].training.startswith("not shown: no .manifest.json")
    assert rows["foreign"].status == "complete; training not shown"
    assert rows["others"].training.startswith("other folds: fold0 predicted 000000")
    assert rows["leaked"].training.startswith("leaked: 1 patients")
    assert rows["others"].status == rows["leaked"].status == "not the protocol's"
    assert (rows["constant_box"].training, rows["constant_box"].status) == ("no model", "complete")
    assert rows["own"].note == "boxes without a prediction, each IoU 0: 1"


@pytest.mark.slow
def test_the_report_is_stamped_and_the_rows_have_the_tables_form(tmp_path: Path) -> None:
    evaluated = _evaluated(tmp_path, own=_of_folds(tmp_path, "own", FOLDS))
    report = build_report(evaluated.inputs)

    assert page_of(report, {}).title == "drawn-v1 (complete): Localizers compared: own"
    note = "Protocol drawn-v1: all its 17 boxes, with its folds and its rules."
    assert note in report.answer.basis
    text = terminal_text(report, tmp_path)
    assert note in text
    section = next(s for s in report.sections if s.key == "protocol")
    assert section.finding == note
    for row in section.tables[0].rows:
        for column in {**row.lead, **row.cells, **row.trail}.keys() - set(DISEASES):
            assert lookup(column).definition, column
    assert report.protocol is not None
    printed = text[text.index("protocol,status,kind") :]
    rows = list(csv.DictReader(io.StringIO(printed[: printed.index("\n\n")])))
    assert tuple(rows[0]) == columns(PROTOCOL)
    own = rows[0]
    assert (own["method"], own["boxes"], own["training"]) == ("own", "17", "out of fold")
    mean = evaluated.comparison.localizers[0].estimates["mean_iou"].macro
    assert float(own["mean_iou"]) == pytest.approx(mean.value, abs=1e-4)
    assert float(own["mean_iou low"]) == pytest.approx(mean.low, abs=1e-4)
    per_disease = evaluated.comparison.localizers[0].estimates["mean_iou"].per_disease
    for disease, estimate in zip(DISEASES, per_disease, strict=True):
        assert float(own[disease]) == pytest.approx(estimate.value, abs=1e-4)
    summary = report.protocol.summary()
    assert (summary["status"], summary["boxes"], summary["of_boxes"]) == ("complete", 17, 17)
    assert json.loads(json.dumps(summary))["rows"] == rows


def test_with_images_missing_no_row_is_complete(tmp_path: Path) -> None:
    names = {image["file_name"] for image in COCO["images"]} - {"00000001_001.png"}
    own = _of_folds(tmp_path, "own", FOLDS)
    rows = json.loads(own.read_text())
    ids = {i["id"] for i in COCO["images"] if i["file_name"] in names}
    own.write_text(json.dumps([row for row in rows if row["image_id"] in ids]))

    result = protocol_result(_evaluated(tmp_path, select_images(COCO, names), foreign=own))

    assert result is not None
    statuses = {row.status for row in result.rows}
    assert all(status.startswith("partial: 16 of 17 boxes") for status in statuses)


def test_other_settings_and_a_changed_ground_truth_are_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "gt.json", COCO)
    asked = InputFiles(tmp_path / "gt.json", protocol="drawn-v1")
    with pytest.raises(ValueError, match="--resamples 20: protocol drawn-v1 has 50"):
        read_inputs(asked, resamples=20, seed=0)
    moved = json.loads(json.dumps(COCO))
    moved["annotations"][0]["bbox"][0] += 1
    write_json(tmp_path / "gt.json", moved)
    with pytest.raises(ValueError, match=r"gt\.json does not follow drawn-v1: the boxes of"):
        read_inputs(asked, resamples=50, seed=0)


def test_without_the_option_nothing_is_checked_or_stamped(tmp_path: Path) -> None:
    write_json(tmp_path / "gt.json", COCO)
    evaluated = Evaluated(read_inputs(InputFiles(tmp_path / "gt.json"), resamples=20, seed=1))

    assert protocol_result(evaluated) is None
    assert not any("protocol" in note for note in evaluated.truth.notes)
