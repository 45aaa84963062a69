"""Which trained models a path on the command line means."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxrloc.classification.run_folder import CLASSIFIER, bundle_at, bundles_at


def make(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_a_run_folder_stands_for_its_models(tmp_path: Path) -> None:
    folds = [make(tmp_path / "run" / f"fold{k}" / CLASSIFIER) for k in range(2)]
    single = make(tmp_path / "single" / CLASSIFIER)
    assert bundles_at(tmp_path / "run") == folds
    assert bundle_at(folds[1].parent) == bundle_at(folds[1]) == folds[1]
    assert bundle_at(tmp_path / "single") == single
    assert bundle_at(tmp_path / "gone.safetensors") == tmp_path / "gone.safetensors"


def test_several_models_or_none_are_refused_where_one_is_needed(tmp_path: Path) -> None:
    folds = [make(tmp_path / f"fold{k}" / CLASSIFIER) for k in range(2)]
    with pytest.raises(ValueError, match=rf"2 trained models; name one, such as {folds[0]}"):
        bundle_at(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"expected maskrcnn\.safetensors or fold0/mask"):
        bundle_at(tmp_path, "maskrcnn.safetensors")
