"""`cxrloc fuse`: from two results files to a third one with its sidecar."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cxrloc.datasets.files.manifest import file_sha256
from cxrloc.datasets.prepared.coco import load_coco
from cxrloc.datasets.provenance.image_lists import write_training_images
from cxrloc.datasets.provenance.leakage import CLEAN, LEAKED, NOT_KNOWN
from cxrloc.datasets.provenance.sidecar import LookedAt, read_provenance, write_provenance
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.localization.analyses.leakage import LocalizerAudit, audits
from cxrloc.localization.comparison_report.inputs import InputFiles, read_inputs
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.predictions.results_file import write_predictions
from cxrloc.tools.experiments.fuse_localizers import main
from localization.fusion.world import FOLDS, IMAGES, coco, image, shifted

NAMES = [image(i) for i in range(IMAGES)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A ground truth, and two localizers, out of fold, that err to opposite sides."""
    (tmp_path / "gt.json").write_text(json.dumps(coco()))
    boxes = {"left": shifted(lambda _: -0.2), "right": shifted(lambda _: 0.2)}
    for name, found in boxes.items():
        write_predictions(tmp_path / f"{name}.json", found, coco())
        _trained(tmp_path, name)
    return tmp_path


def _trained(folder: Path, name: str, seen: str = "", images: list[str] = NAMES) -> None:
    """The sidecar of a localizer of which each fold's model saw the other folds, and `seen`."""
    looked_at = []
    for fold in range(FOLDS):
        bundle = folder / name / f"fold{fold}" / "model.safetensors"
        bundle.parent.mkdir(parents=True, exist_ok=True)
        bundle.write_bytes(name.encode())
        others = [n for n in NAMES if int(n[:2]) % FOLDS != fold or n == seen]
        rows = [Radiograph(n, None, f"P{n[:2]}", "", {}) for n in others]
        write_training_images(bundle, {"train": rows})
        mine = tuple(n for n in images if int(n[:2]) % FOLDS == fold)
        looked_at.append(LookedAt(mine, bundle, fold))
    write_provenance(folder / f"{name}.json", looked_at)


def _fuse(folder: Path, out: str = "sub/fused.json") -> int:
    files = [f"{name}={folder / name}.json" for name in ("left", "right")]
    arguments = ["--predictions", *files, "--ground-truth", f"{folder}/gt.json"]
    return main([*arguments, "--out", str(folder / out)])


def _compared(folder: Path) -> Evaluated:
    files = {name: folder / f"{name}.json" for name in ("left", "sub/fused")}
    return Evaluated(read_inputs(InputFiles(folder / "gt.json", files), resamples=20))


def _audit(folder: Path) -> LocalizerAudit:
    return {a.localizer: a for a in audits(_compared(folder))}["sub/fused"]


def test_a_fused_file_is_compared_as_any_other(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _fuse(folder) == 0

    evaluated = _compared(folder)
    assert evaluated.scores["left"].iou.mean() == pytest.approx(0.8 / 1.2)
    assert evaluated.scores["sub/fused"].iou.mean() > 0.95
    assert evaluated.looked_at["sub/fused"].all()
    output = capsys.readouterr().out
    assert "fold 0: weights left 1, right 1; joined over an IoU of 0.3; score: mean" in output
    assert "macro mean IoU, chosen on other patients: left 0.667, right 0.667, fused " in output
    said = [note for note in evaluated.truth.notes if "also saw" in note]
    assert len(said) == 1
    assert (
        "sub/fused also saw the boxes of other patients, which chose how it fuses left and"
        in (said[0])
    )


def test_its_sidecar_holds_the_models_of_its_parts_and_the_rules(folder: Path) -> None:
    _fuse(folder)

    provenance = read_provenance(folder / "sub" / "fused.json")
    assert provenance is not None
    assert set(provenance.models) == {
        f"{name} fold{fold}" for name in ("left", "right", "fused") for fold in range(FOLDS)
    }
    assert provenance.images == set(NAMES)
    for model in provenance.models:
        assert len(provenance.training(model)) == IMAGES * 2 // FOLDS
    manifest = json.loads((folder / "sub" / "fused.manifest.json").read_text())
    assert manifest["hashes"]["predictions:left"] == file_sha256(folder / "left.json")
    rule: dict[str, Any] = manifest["fusion"]["rules"]["fold 1"]
    assert (rule["weights"], rule["score_rule"]) == ([1, 1], "mean")
    assert rule["macro_mean_iou_on_the_others"] > 0.95


def test_it_leaks_if_a_part_leaks_and_is_not_known_if_a_part_is_not(folder: Path) -> None:
    _fuse(folder)
    clean = _audit(folder)
    assert (clean.status, clean.images) == (CLEAN, IMAGES)

    _trained(folder, "right", seen=NAMES[4])
    _fuse(folder)
    leaked = _audit(folder)
    assert (leaked.status, leaked.shared_images) == (LEAKED, (NAMES[4],))

    (folder / "right.manifest.json").unlink()
    _fuse(folder)
    unknown = _audit(folder)
    assert unknown.status == NOT_KNOWN
    assert unknown.unknown == ("not known what it was trained on: right: no sidecar",)


def test_localizers_of_other_images_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = [box for box in shifted(lambda _: 0.2) if box.image_id != NAMES[3]]
    write_predictions(folder / "right.json", boxes, coco())
    _trained(folder, "right", images=[n for n in NAMES if n != NAMES[3]])

    assert _fuse(folder) == 2

    message = capsys.readouterr().err
    assert f"left predicted 30 of the images, right 29; they differ on {NAMES[3]}" in message
    assert "cxrloc localize --images all" in message


def test_models_of_another_data_set_are_not_mixed_with_the_own(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "right.manifest.json"
    facts = {"trained_on": ["data/nih"], "predicted": "x", "labels": {"Mass": "Mass"}}
    external = facts | {"no_counterpart": {"model": [], "ground_truth": []}}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"external": external}))

    assert _fuse(folder) == 2
    assert "left and right were not trained on the same data set" in capsys.readouterr().err

    path = folder / "left.manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"external": external}))
    assert _fuse(folder) == 0
    provenance = read_provenance(folder / "sub" / "fused.json")
    assert provenance is not None
    assert provenance.external == external


def test_a_part_is_not_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _fuse(folder, "right.json") == 2
    assert "right.json is the file of right; expected another" in capsys.readouterr().err
    assert len(load_coco(folder / "gt.json")["images"]) == IMAGES
