"""cxrloc localize with gates that were trained with boxes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from cxrloc.datasets.provenance.sidecar import read_provenance
from cxrloc.localization.cam.heat_maps import read_heat_maps
from cxrloc.localization.comparison_report.inputs import supervision_notes
from cxrloc.tools.experiments.tune_cam import main as tune_cam
from tools.prediction.localizing import K, localize, save_fold


@pytest.fixture
def guided_run(tmp_path: Path, prepared: Path) -> Path:
    for fold in range(K):
        supervision = {"boxes": 4, "box_loss_weight": 1.0}
        metadata = {"fold": fold, "k": K, "box_supervision": supervision}
        save_fold(tmp_path / "guided", fold, prepared, metadata=metadata)
    return tmp_path / "guided"


def test_maps_rules_and_sidecar_say_guided_cam(
    prepared: Path, guided_run: Path, tmp_path: Path
) -> None:
    maps, rules = tmp_path / "guided.maps.safetensors", tmp_path / "rules.yaml"
    guided = ("--localizer", "guided_cam", "--gate", guided_run)
    status, out = localize(prepared, *guided, "--maps", maps)
    assert status == 0
    heat = read_heat_maps(maps)
    assert (heat.name, heat.probabilities, heat.aligned) == ("guided_cam", True, False)
    truth = prepared / "ground_truth.json"
    command = ["--maps", maps, "--ground-truth", truth, "--out", rules]
    assert tune_cam([str(word) for word in command]) == 0
    assert yaml.safe_load(rules.read_text())["probabilities"] is True
    assert localize(prepared, *guided, "--cam-rules", rules)[0] == 0
    assert all(0 < entry["score"] < 1 for entry in json.loads(out.read_text()))
    provenance = read_provenance(out)
    [note] = supervision_notes({"guided_cam": provenance, "box": None})
    assert note == (
        "supervised by boxes of the training images, unlike grad_cam: the maps of guided_cam"
    )
    with pytest.raises(ValueError, match="sidecar says guided_cam, whose maps learnt from boxes"):
        supervision_notes({"Grad-CAM tuned": provenance})


def test_a_run_is_localized_under_its_own_name_alone(
    prepared: Path,
    run_folder: Path,
    guided_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("grad_cam", "grad_cam_wang"):
        assert localize(prepared, "--localizer", name, "--gate", guided_run)[0] == 2
        assert "use the localizer guided_cam" in capsys.readouterr().err
    assert localize(prepared, "--localizer", "guided_cam", "--gate", run_folder)[0] == 2
    assert "its maps are grad_cam's" in capsys.readouterr().err
