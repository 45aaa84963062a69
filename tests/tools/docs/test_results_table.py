"""docs/protocols/nih-boxes-v1.csv: its form, and every figure in it that can be made again."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from cxrloc.datasets.prepared.coco import to_coco
from cxrloc.datasets.prepared.protocols.protocol import find_protocol
from cxrloc.datasets.readers import nih
from cxrloc.localization.comparison_report.protocol import THRESHOLDS, columns
from cxrloc.localization.evaluation.box_scores import score_boxes
from cxrloc.localization.evaluation.controls import (
    CONTROL_NAMES,
    OtherPatients,
    controls_everywhere,
)
from cxrloc.localization.evaluation.ground_truth import ground_truth_from_coco
from cxrloc.localization.report.published import published_rows
from generate.markdown import REPOSITORY, with_tables

PROTOCOL = find_protocol("nih-boxes-v1")
PAGE = REPOSITORY / "docs/protocols/nih-boxes-v1.md"
FILE = PAGE.with_suffix(".csv")
STATUSES = ("complete", "complete; training not shown", "not the protocol's")


def _rows() -> list[dict[str, str]]:
    with FILE.open(newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle)
        assert tuple(reader.fieldnames or ()) == columns(PROTOCOL)
        return list(reader)


def test_every_row_has_a_status_a_source_and_figures_from_0_to_1() -> None:
    figures = [c for c in columns(PROTOCOL) if "iou" in c or c in PROTOCOL.diseases]
    for row in _rows():
        assert row["protocol"] == PROTOCOL.name
        assert row["status"] in STATUSES or row["status"].startswith("partial: "), row["method"]
        assert row["method"], row
        assert row["source"], row["method"]
        assert row["training"], row["method"]
        assert row["rule"], row["method"]
        assert all(0 <= float(row[c]) <= 1 for c in figures if row[c]), row["method"]
        if row["status"].startswith("complete"):
            assert int(row["boxes"]) == PROTOCOL.boxes, row["method"]
            assert all(row[c] for c in figures), row["method"]
            mean = sum(float(row[d]) for d in PROTOCOL.diseases) / len(PROTOCOL.diseases)
            assert float(row["mean_iou"]) == pytest.approx(mean, abs=1e-4), row["method"]


def test_published_rows_are_the_published_figures() -> None:
    published = {
        (row.study, f"acc_iou@{row.threshold:g}"): row.macro_mean(PROTOCOL.diseases)
        for row in published_rows()
        if (row.measure, row.criterion) == ("acc", "iou")
    }
    rows = [row for row in _rows() if row["kind"] == "published"]
    assert {row["method"] for row in rows} == {study for study, _ in published}
    for row in rows:
        assert row["status"] == "not the protocol's"
        for t in THRESHOLDS:
            expected = published.get((row["method"], f"acc_iou@{t:g}"))
            text = row[f"acc_iou@{t:g}"]
            assert text == ("" if expected is None else f"{expected:.4f}"), row["method"]


def test_the_controls_figures_come_out_again_from_nihs_boxes(shared_data: Path) -> None:
    """No image is needed: the controls never look."""
    images = [r for r in nih.index(shared_data / "nih").radiographs if r.boxes]
    truth = ground_truth_from_coco(to_coco(images, PROTOCOL.diseases))
    complete = [r for r in _rows() if (r["kind"], r["status"]) == ("control", "complete")]
    rows = {row["method"]: row for row in complete}

    assert rows.keys() == set(CONTROL_NAMES)
    for name, boxes in controls_everywhere(OtherPatients(truth)).items():
        overlap = score_boxes(boxes).iou
        per_disease = [overlap[truth.disease_index == i] for i in range(len(PROTOCOL.diseases))]
        for t in THRESHOLDS:
            accuracy = np.mean([(values > t).mean() for values in per_disease])
            assert rows[name][f"acc_iou@{t:g}"] == f"{accuracy:.4f}", (name, t)
        for disease, values in zip(PROTOCOL.diseases, per_disease, strict=True):
            assert rows[name][disease] == f"{values.mean():.4f}", (name, disease)


def test_the_page_renders_every_row_and_refuses_an_unknown_column(tmp_path: Path) -> None:
    text = with_tables(PAGE)

    assert "<!-- table" not in text
    assert text.count("| constant\\_box |") == 3 * sum(
        r["method"] == "constant_box" for r in _rows()
    )
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    (tmp_path / "page.md").write_text("<!-- table t.csv: a, c -->\n")
    with pytest.raises(ValueError, match=r"t\.csv has no column c"):
        with_tables(tmp_path / "page.md")
