"""Sidecars: who looked at which images, and what they were trained on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cxrloc.datasets.files.manifest import file_sha256
from cxrloc.datasets.provenance.image_lists import write_training_images
from cxrloc.datasets.provenance.sidecar import (
    LookedAt,
    read_provenance,
    read_sidecar,
    sidecar_path,
    write_provenance,
)
from cxrloc.datasets.radiograph import Radiograph


def make_run(root: Path) -> Path:
    """Two folds, each trained on one image and looking at the other; returns the results file."""
    looked_at = []
    for fold, (seen, predicted) in enumerate([("b", "a"), ("a", "b")]):
        bundle = root / "run" / f"fold{fold}" / "maskrcnn.safetensors"
        bundle.parent.mkdir(parents=True)
        bundle.write_bytes(f"weights {fold}".encode())
        write_training_images(bundle, {"train": [Radiograph(seen, None, f"p{seen}", "", {})]})
        looked_at.append(LookedAt((predicted,), bundle, fold))
    results = root / "boxes" / "mask_rcnn.json"
    results.parent.mkdir()
    results.write_text("[]")
    write_provenance(results, looked_at, {"seed": 3}, masks=results.with_name("masks.json"))
    return results


def test_a_sidecar_names_images_without_boxes_models_and_masks(tmp_path: Path) -> None:
    results = make_run(tmp_path)
    provenance = read_provenance(results)
    assert provenance is not None
    assert provenance.problem == ""
    assert provenance.images_by_model == {"fold0": ("a",), "fold1": ("b",)}
    assert provenance.images == {"a", "b"}
    assert provenance.masks == results.with_name("masks.json")
    assert provenance.training("fold0").patient_of == {"b": "pb"}
    assert provenance.training("fold1").patient_of == {"a": "pa"}
    record = json.loads((results.parent / "mask_rcnn.manifest.json").read_text())
    assert record["seed"] == 3
    bundle = tmp_path / "run" / "fold0" / "maskrcnn.safetensors"
    assert record["models"]["fold0"] == {
        "bundle": "../run/fold0/maskrcnn.safetensors",
        "sha256": file_sha256(bundle),
        "training_images": "../run/fold0/training_images.csv",
        "training_images_sha256": file_sha256(bundle.with_name("training_images.csv")),
    }


def test_a_run_can_be_moved_as_a_whole(tmp_path: Path) -> None:
    make_run(tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    provenance = read_provenance(tmp_path / "there" / "boxes" / "mask_rcnn.json")
    assert provenance is not None
    assert provenance.training("fold1").patient_of == {"a": "pa"}


def test_a_control_has_images_and_no_model(tmp_path: Path) -> None:
    (tmp_path / "prior.json").write_text("[]")
    write_provenance(tmp_path / "prior.json", [LookedAt(("a",))])
    provenance = read_provenance(tmp_path / "prior.json")
    assert provenance is not None
    assert (provenance.images_by_model, provenance.models) == ({"all": ("a",)}, {})
    assert provenance.masks is None


def test_a_list_that_was_missing_changed_or_lost_is_not_believed(tmp_path: Path) -> None:
    results = make_run(tmp_path)
    provenance = read_provenance(results)
    assert provenance is not None
    images = tmp_path / "run" / "fold0" / "training_images.csv"
    images.write_text(images.read_text() + "c,pc,train\n")
    with pytest.raises(ValueError, match="is not the list used when the images were predicted"):
        provenance.training("fold0")
    images.unlink()
    with pytest.raises(FileNotFoundError, match="run the training's command again"):
        provenance.training("fold0")
    write_provenance(results, [LookedAt(("a",), images.with_name("maskrcnn.safetensors"))])
    later = read_provenance(results)
    assert later is not None
    with pytest.raises(FileNotFoundError, match=r"maskrcnn.safetensors had no training_images"):
        later.training("all")


def test_no_sidecar_is_none_and_a_sidecar_of_another_file_has_a_problem(tmp_path: Path) -> None:
    results = make_run(tmp_path)
    assert read_provenance(tmp_path / "foreign.json") is None
    results.write_text("[1]")
    changed = read_provenance(results)
    assert changed is not None
    assert "mask_rcnn.json is not the file that mask_rcnn.manifest.json was" in changed.problem
    assert changed.images == frozenset()
    results.unlink()
    assert (
        "belongs to 'mask_rcnn.json', which is not" in read_sidecar(sidecar_path(results)).problem
    )


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("{", "is not JSON"),
        ('{"images": 6, "models": {}}', "results.* is missing"),
        ("[]", "holds a JSON list, expected an object"),
        (None, "images of fold1, but the models are fold0"),
    ],
)
def test_a_faulty_sidecar_is_refused(tmp_path: Path, record: str | None, message: str) -> None:
    results = make_run(tmp_path)
    path = sidecar_path(results)
    whole = json.loads(path.read_text())
    whole["models"].pop("fold1")
    path.write_text(json.dumps(whole) if record is None else record)
    with pytest.raises(ValueError, match=message):
        read_provenance(results)


def test_a_sidecar_that_does_not_list_models_is_not_believed(tmp_path: Path) -> None:
    results = tmp_path / "boxes.json"
    results.write_text("[]")
    sidecar_path(results).write_text('{"images": {"all": ["a"]}}')
    provenance = read_provenance(results)
    assert provenance is not None
    assert "does not list the predicted images; predict again" in provenance.problem
