"""The tables, per_box.csv and summary.json: what stands where, and how it is printed."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from cxrloc.classification.metrics.bootstrap import Estimate
from cxrloc.classification.report.tables import (
    Cell,
    ResultTable,
    TableRow,
    cell_text,
    to_csv,
    to_latex,
    to_markdown,
    write_table,
)
from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.datasets.labels.names import NIH_BOXED_DISEASES
from cxrloc.localization.comparison_report.summary import per_box_csv
from cxrloc.localization.report.comparison_tables import accuracy_table, mean_table
from cxrloc.localization.report.glossary import DEEP_MEDIA_NOTE
from cxrloc.localization.report.html_tables import table_view
from cxrloc.localization.report.pair_tables import difference_table
from localization.report.half_comparison import (
    half_comparison,
    half_evaluated,
    records,
    sections_of,
    tables_of,
)


def test_the_csv_leads_with_threshold_localizer_diseases_macro_mean_and_boxes() -> None:
    header = to_csv(accuracy_table(half_comparison(), "iou")).splitlines()[0]

    assert header.startswith(
        f"measure,threshold,localizer,setting,rule,{','.join(NIH_BOXED_DISEASES)},macro mean,boxes,"
    )


def test_every_threshold_has_every_localizer_and_the_published_rows_of_its_criterion() -> None:
    rows = records(accuracy_table(half_comparison(), "iou"))

    names = {
        t: [r["localizer"] for r in rows if float(r["threshold"]) == t] for t in (0.5, 0.6, 0.9)
    }
    localizers = ["half", "prior_box", "constant_box", "center_box", "random_map"]
    wang, deep = "Wang et al. 2017, ChestX-ray8 model", "Deep MedIA 2021, Mask R-CNN"
    assert names == {
        0.5: [*localizers, wang, deep],
        0.6: [*localizers, wang],
        0.9: [*localizers, deep],
    }
    assert sorted({float(r["threshold"]) for r in rows}) == [
        0.1,
        0.2,
        0.25,
        0.3,
        0.4,
        0.5,
        0.6,
        0.7,
        0.75,
        0.9,
    ]


def test_the_csv_holds_figures_intervals_and_counts() -> None:
    row = next(
        r for r in records(accuracy_table(half_comparison(), "iou")) if r["localizer"] == "half"
    )

    assert (row["threshold"], row["setting"], row["rule"]) == ("0.1", "disease given", "top-1")
    assert float(row["Mass"]) == pytest.approx(2 / 3, abs=1e-5)
    assert float(row["macro mean"]) == pytest.approx(2 / 3, abs=1e-5)
    assert float(row["macro mean, any"]) == pytest.approx(2 / 3, abs=1e-5)
    assert float(row["Mass low"]) < 2 / 3 < float(row["Mass high"])
    assert row["boxes"] == "24"
    assert row["note"] == RESEARCH_USE


def test_published_rows_say_whose_they_are_and_on_which_images() -> None:
    rows = records(accuracy_table(half_comparison(), "iobb"))

    wang = next(r for r in rows if "ChestX-ray8" in r["localizer"] and r["threshold"] == "0.5")
    assert (wang["setting"], wang["rule"], wang["boxes"]) == ("published", "any", "984")
    assert float(wang["Infiltration"]) == 0.4227
    assert wang["Infiltration low"] == ""
    assert "all 984 NIH boxes on 880 images, not on the images of the other rows" in wang["note"]


def test_deep_media_stands_in_acc_iou_alone_and_why_is_said_once() -> None:
    iou, iobb = (to_markdown(accuracy_table(half_comparison(), o)) for o in ("iou", "iobb"))

    assert iou.count(DEEP_MEDIA_NOTE) == 1
    assert "Deep MedIA 2021, Mask R-CNN | published" in iou
    assert "Deep MedIA 2021, Mask R-CNN | published" not in iobb


def test_published_rows_are_absent_for_other_diseases_and_on_request() -> None:
    for table in (
        accuracy_table(half_comparison(("Mass", "Fracture")), "iou"),
        accuracy_table(half_comparison(), "iou", published=False),
    ):
        assert "published" not in to_csv(table)
        assert "Wang et al. 2017" not in to_markdown(table)


def test_no_figure_of_iobb_stands_without_iogt() -> None:
    comparison = half_comparison()
    for table in (accuracy_table(comparison, "iobb", published=False), mean_table(comparison)):
        rows = [row for row in table.rows if "iobb" in row.block]
        assert rows
        for row in rows:
            figures = [*row.cells.values(), row.trail["macro mean, any"]]
            assert all(isinstance(c, Cell) and c.beside is not None for c in figures)


def test_iogt_is_printed_behind_iobb() -> None:
    comparison = half_comparison(("Mass", "Nodule"))
    row = accuracy_table(comparison, "iobb").rows[0]

    # IoBB is 1 for two of three boxes, IoGT .5 for them: mean 1/3
    cell = row.cells["Mass"]
    assert isinstance(cell, Cell)
    assert cell_text(cell).startswith(".667 [")
    assert cell_text(cell).endswith("] (.33), skill undefined")
    assert float(records(accuracy_table(comparison, "iobb"))[0]["Mass IoGT"]) == pytest.approx(
        1 / 3, abs=1e-5
    )


def test_the_sections_hold_every_table_once_and_say_what_came_out() -> None:
    sections = sections_of(half_evaluated(("Mass", "Nodule"), gated=True))

    assert [s.key for s in sections] == ["means", "accuracy", "paired"]
    names = [table.name for s in sections for table in s.tables]
    assert names[:4] == ["mean_iou", "skill", "acc_iou", "acc_iobb"]
    assert names[4:] == ["afp_iou", "afp_iobb", "differences", "paired_tests"]
    sentence = sections[0].paragraphs[1]
    assert "half .333 [.000, .500], skill undefined; constant_box 1.000" in sentence
    assert sections[2].paragraphs[1] == (
        "half minus constant_box: macro mean IoU -.667 [-1.000, -.500], the interval excludes "
        "zero; better in 0 and worse in 0 of 0 diseases tested (Wilcoxon, Holm p < 0.05)."
    )
    assert all(figure.alt for s in sections for figure in s.figures)


def test_gated_rows_are_named_so_in_every_output() -> None:
    comparison = half_comparison(gated=True)

    settings = [(r.lead["localizer"], r.lead["setting"]) for r in mean_table(comparison).rows[:2]]
    assert settings == [("half", "disease given"), ("half", "gated")]
    lines = csv.DictReader(io.StringIO(per_box_csv(comparison)))
    assert "half, gated" in {line["localizer"] for line in lines}
    assert "the gate says present: for 16 of the 24 boxes" in to_markdown(mean_table(comparison))


@pytest.mark.parametrize("write", [to_markdown, to_latex])
def test_tables_that_people_read_state_scope_rules_and_research_use(write: Any) -> None:
    for table in tables_of(half_evaluated()):
        text = write(table)
        assert RESEARCH_USE in text
        assert "24 ground-truth boxes on 3 images of 3 patients" in text
        assert "top-1" in text
        assert "misses" in text or "is a miss and counts as 0" in text


def test_markdown_rows_have_as_many_cells_as_their_header() -> None:
    for table in tables_of(half_evaluated()):
        widths = {
            line.count("|") for line in to_markdown(table).splitlines() if line.startswith("|")
        }
        assert len(widths) == 1, table.name


def test_latex_escapes_what_latex_would_stumble_over() -> None:
    text = to_latex(accuracy_table(half_comparison(), "iou"))

    assert r"acc\_iou@0.1" in text
    assert text.count(r"\begin{longtable}") == text.count(r"\end{longtable}") == 1
    body = [line for line in text.splitlines() if line.startswith("half")]
    assert len({line.count(" & ") for line in body}) == 1
    assert not any("_" in line.replace(r"\_", "") for line in body)


def test_the_three_files_of_a_table_are_written_and_nothing_else(tmp_path: Path) -> None:
    write_table(difference_table(half_comparison()), tmp_path / "new")

    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == ["differences.csv", "differences.md", "differences.tex"]


def test_a_row_with_other_diseases_than_the_first_keeps_its_figures() -> None:
    def row(name: str, **figures: float) -> TableRow:
        cells = {d: Cell(Estimate(value, 0.0, 1.0)) for d, value in figures.items()}
        macro = Cell(Estimate(0.9, 0.8, 1.0))
        return TableRow("part", {"localizer": name}, {**cells, "macro mean": macro}, {"masks": 1})

    table = ResultTable("t", "T", (row("a", Edema=0.25), row("b", Edema=0.5, Mass=0.75)), ())
    markdown = to_markdown(table).splitlines()
    assert "| localizer | Edema | Mass | macro mean | masks |" in markdown
    assert "| a | .250 [.000, 1.000] |  | .900 [.800, 1.000] | 1 |" in markdown
    assert "| b | .500 [.000, 1.000] | .750 [.000, 1.000] | .900 [.800, 1.000] | 1 |" in markdown
    assert r"localizer & Edema & Mass & macro mean & masks \\" in to_latex(table)
    view = table_view(table, ("Edema", "Mass"))
    names = [column.name for column in view.columns]
    assert names == ["localizer", "macro mean", "Edema", "Mass", "masks"]
    assert [cell.text for cell in view.blocks[0].rows[0]] == ["a", ".900", ".250", "", "1"]
