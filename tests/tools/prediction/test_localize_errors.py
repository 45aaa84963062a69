"""What cxrloc localize leaves out or refuses, and what it says of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cxrloc.datasets.prepared.folder import load_prepared, write_prepared
from tools.prediction.localizing import K, images_of, localize, save_fold


def test_a_file_of_maps_without_any_is_said(
    prepared: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = load_prepared(prepared)
    bare = [replace(image, boxes=()) for image in data.radiographs]
    write_prepared(
        prepared.parent / "bare",
        bare,
        boxed_diseases=["Mass"],
        folds=data.folds,
        k=K,
        official={},
        summary="",
        manifest={},
    )
    path = prepared.parent / "x.maps.safetensors"
    arguments = ("--localizer", "grad_cam", "--gate", run_folder, "--images", "all", "--maps", path)
    assert localize(prepared.parent / "bare", *arguments)[0] == 0
    assert f"{path} holds no map: no image has a box" in capsys.readouterr().err


def test_an_unreadable_image_is_named_and_the_rest_go_on_unless_strict(
    prepared: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (prepared.parent / "images" / "00000004_000.png").write_bytes(b"no image")
    arguments = ("--localizer", "grad_cam", "--gate", run_folder, "--folds", "[1]")
    status, out = localize(prepared, *arguments)
    assert status == 1  # the others are done
    assert images_of(out) == ["00000003_000.png"]
    assert "cannot be read, left out: 00000004_000.png" in capsys.readouterr().err
    manifest = json.loads(out.with_suffix(".manifest.json").read_text())
    assert list(manifest["unreadable"]) == ["00000004_000.png"]
    out.unlink()
    assert localize(prepared, *arguments, "--strict", "true")[0] == 2
    assert not out.exists()


def test_a_missing_fold_is_an_error_that_names_it(
    prepared: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_folder / "fold2" / "classifier.safetensors").unlink()
    status, out = localize(prepared, "--localizer", "grad_cam", "--gate", run_folder)
    assert status == 2
    message = capsys.readouterr().err
    assert "fold 2 has no trained model" in message
    assert "the run has fold0, fold1" in message
    assert not out.exists()
    arguments = ("--localizer", "grad_cam", "--gate", run_folder, "--folds", "[0, 1]")
    assert localize(prepared, *arguments)[0] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metadata": {"fold": 0, "k": K}}, "trained with test fold 0, expected 1"),
        ({"metadata": {"fold": 1, "k": 5}}, "trained on 5 folds, but"),
        (
            {"manifest": {"hashes": {"folds": "0" * 64}}},
            "may have seen images that it would predict",
        ),
        ({"manifest": {}}, "states no hash of its training folds"),
        (  # where a Mask R-CNN's bundle notes its folds
            {"manifest": {}, "metadata": {"fold": 1, "k": K, "folds_sha256": "0" * 64}},
            "may have seen images that it would predict",
        ),
    ],
)
def test_a_model_of_another_preparation_is_refused(
    prepared: Path,
    run_folder: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    message: str,
) -> None:
    save_fold(run_folder, 1, prepared, **changes).rename(
        run_folder / "fold1" / "classifier.safetensors"
    )
    assert localize(prepared, "--localizer", "grad_cam", "--gate", run_folder)[0] == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--localizer", "gradcam"), "unknown localizer 'gradcam'; expected one of grad_cam, grad"),
        (("--localizer", "grad_cam", "--remove-markers", "mask"), "give --maps too"),
        (("--localizer", "grad_cam"), "grad_cam needs --gate"),
        (("--localizer", "prior_box", "--gate", "x"), "prior_box is a control and takes no --gate"),
        (("--localizer", "mask_rcnn", "--gate", "x"), "mask_rcnn needs --maskrcnn"),
        (("--localizer", "prior_box", "--folds", "[7]"), "has folds 0 to 2"),
        (("--localizer", "prior_box", "--sizes", "[96]"), "--sizes: only the boxes of a mask_rcnn"),
        (
            ("--localizer", "mask_rcnn", "--maskrcnn", "x", "--ensemble", "true"),
            "--ensemble is for another data set",
        ),
        (("--localizer", "grad_cam", "--gate", "none.safetensors"), "no model bundle at none"),
    ],
)
def test_wrong_words_end_with_status_two_and_say_what_is_known(
    prepared: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    try:
        status, _ = localize(prepared, *arguments)
    except SystemExit as error:  # jsonargparse ends the program itself
        status = int(error.code or 0)
    assert status == 2
    assert message in capsys.readouterr().err


def test_a_bundle_of_one_fold_is_not_asked_for_another(
    prepared: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--localizer", "grad_cam", "--gate", run_folder / "fold0/classifier.safetensors"]
    assert localize(prepared, *arguments, "--folds", "[1]")[0] == 2
    assert "is of fold 0; leave --folds out" in capsys.readouterr().err
    assert localize(prepared, *arguments, "--folds", "[0]")[0] == 0
