"""per_box.csv and summary.json: what stands where."""

from __future__ import annotations

import csv
import io
import json

import pytest

from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.datasets.labels.names import NIH_BOXED_DISEASES
from cxrloc.localization.comparison_report.summary import PER_BOX_COLUMNS, per_box_csv, summary
from localization.report.half_comparison import half_comparison


def test_per_box_has_one_line_per_localizer_and_box() -> None:
    lines = list(csv.reader(io.StringIO(per_box_csv(half_comparison(("Mass", "Nodule"))))))

    assert tuple(lines[0]) == PER_BOX_COLUMNS
    assert lines[1] == ["1_0.png", "1", "Mass", "half", "0.5", "1", "0.5", "0.5"]
    assert lines[5] == ["3_0.png", "3", "Mass", "half", "0", "0", "0", "0"]
    assert len(lines) == 1 + 5 * 6


def test_the_summary_is_json_and_agrees_with_the_comparison() -> None:
    comparison = half_comparison(gated=True)

    record = json.loads(json.dumps(summary(comparison, {"seed": 0}), allow_nan=False))

    assert record["ground_truth"] == {
        "boxes": 24,
        "images": 3,
        "patients": 3,
        "boxes_per_disease": dict.fromkeys(NIH_BOXED_DISEASES, 3),
    }
    first = record["localizers"][0]
    assert (first["name"], first["setting"]) == ("half", "disease given")
    assert first["boxes_without_prediction"] == 8
    macro = comparison.localizers[0].estimates["mean_iou"].macro
    assert first["measures"]["mean_iou"]["macro"] == {
        "value": macro.value,
        "low": macro.low,
        "high": macro.high,
    }
    assert set(first["measures"]) >= {
        "acc_iou@0.5",
        "acc_iobb@0.75",
        "acc_iogt@0.1",
        "mean_iou any",
    }
    beaten = next(d for d in record["differences"] if d["minus"] == "prior_box")
    assert beaten["macro_excludes_zero"] is True
    assert beaten["measure"] == "mean_iou"
    tests = next(t for t in record["paired_tests"] if t["localizer"] == "half, gated")
    assert (tests["per_disease"]["Mass"]["boxes"], tests["macro"]["wilcoxon_p"]) == (3, None)
    skill = next(s for s in record["skill"] if s["control"] == "center_box")
    assert skill["macro"]["value"] == pytest.approx(1 / 3)
    assert record["settings"]["gate_passes"] == 16
    assert record["published"][0]["measure"] == "acc_iou"
    assert record["manifest"] == {"seed": 0}
    assert RESEARCH_USE in record["research_use"]
