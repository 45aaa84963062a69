"""The section end_to_end: its tables, figures and sentences, and what it says of missing images."""

from __future__ import annotations

import csv
import io
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import evaluated
from cxrloc.classification.report.plots import COLOURS, CONTROL_GREYS
from cxrloc.classification.report.tables import to_csv, to_latex, to_markdown
from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.datasets.labels.names import NIH_BOXED_DISEASES
from cxrloc.datasets.provenance.sidecar import Provenance
from cxrloc.localization.analyses.end_to_end.section import end_to_end
from cxrloc.localization.evaluation.ground_truth import BOXED, ground_truth_from_coco
from cxrloc.localization.localizer import Localization
from cxrloc.localization.report.glossary import lookup
from cxrloc.localization.report.sections import Section


def _coco(images: int, diseases: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """Two images a patient; a third of the images has a box, a third nothing."""
    rng = np.random.default_rng(seed)
    kinds = [("boxed", "unboxed", "clear")[i] for i in rng.integers(0, 3, images)]
    where = rng.integers(0, len(diseases), images).tolist()
    return {
        "categories": [{"id": c, "name": d} for c, d in enumerate(diseases, start=1)],
        "images": [
            {
                "id": i,
                "file_name": f"{i:05d}",
                "width": 64,
                "height": 64,
                "patient_id": f"p{i // 2}",
                "labels": [] if kind == "clear" else [diseases[where[i]]],
                "not_exhaustive_category_ids": [where[i] + 1] if kind == "unboxed" else [],
            }
            for i, kind in enumerate(kinds)
        ],
        "annotations": [
            {"id": i + 1, "image_id": i, "category_id": where[i] + 1, "bbox": [10, 10, 20, 20]}
            for i, kind in enumerate(kinds)
            if kind == "boxed"
        ],
    }


COCO = _coco(60, ["Mass", "Nodule"])
TRUTH = ground_truth_from_coco(COCO)
IMAGES = TRUTH.images
CONTROLS = ["prior_box", "constant_box"]
BOXED_ONLY = frozenset(TRUTH.image_ids)


def _boxes(images: Sequence[str], diseases: Sequence[str], seed: int) -> list[Localization]:
    rng = np.random.default_rng(seed)
    boxes = []
    for image in images:
        for disease in diseases:
            x, y = rng.uniform(5, 17, 2)
            box = (float(x), float(y), float(x + 20), float(y + 20))
            boxes.append(Localization(image, disease, box, float(rng.random())))
    return boxes


A, B = (_boxes(IMAGES.image_ids, IMAGES.diseases, seed) for seed in (1, 2))
GATE = {
    (image, disease): (i + j) % 3 > 0
    for i, image in enumerate(IMAGES.image_ids)
    for j, disease in enumerate(IMAGES.diseases)
}


def _section(
    predictions: Mapping[str, Sequence[Localization]],
    gate: Mapping[tuple[str, str], bool] | None = GATE,
    looked_at: Mapping[str, Iterable[str]] | None = None,
) -> Section:
    """`looked_at`: localizer -> images; all images, unless it says otherwise."""
    images = {name: tuple(IMAGES.image_ids) for name in predictions}
    images |= {name: tuple(names) for name, names in (looked_at or {}).items()}
    sidecars = {n: Provenance(Path(f"{n}.manifest.json"), {"all": i}) for n, i in images.items()}
    return end_to_end(evaluated(TRUTH, predictions, gate, provenances=sidecars, resamples=40))


def _rows(section: Section, table: str) -> list[dict[str, str]]:
    of_table = next(t for t in section.tables if t.name == table)
    return list(csv.DictReader(io.StringIO(to_csv(of_table))))


def test_with_a_gate_there_are_ledger_settings_false_boxes_and_froc() -> None:
    section = _section({"a": A, "b": B})

    names = ["gate_ledger", "end_to_end", "false_boxes", "froc"]
    assert (section.key, [table.name for table in section.tables]) == ("end_to_end", names)
    assert [figure.name for figure in section.figures] == [
        f"froc_{setting}_iou{t}"
        for setting in ("end_to_end", "every_disease_asked")
        for t in ("0.1", "0.5")
    ]
    for table, rows in (("end_to_end", 4 * 3), ("froc", 2 * 2 * 2)):  # settings, thresholds, ...
        localizers = Counter(row["localizer"] for row in _rows(section, table))
        assert localizers == dict.fromkeys(["a", "b", *CONTROLS], rows)


def test_without_a_gate_only_what_needs_none_is_made_and_that_is_said() -> None:
    section = _section({"a": A}, gate=None)

    assert [table.name for table in section.tables] == ["end_to_end", "false_boxes", "froc"]
    assert {r["setting"] for r in _rows(section, "froc")} == {"every disease asked"}
    assert {r["setting"] for r in _rows(section, "end_to_end")} == {
        "disease given",
        "every disease asked",
    }
    assert "No gate was given" in section.paragraphs[0]


def test_a_localizer_that_saw_boxed_images_alone_is_told_how_to_see_all() -> None:
    boxed = [box for box in A if box.image_id in BOXED_ONLY]

    section = _section({"a": boxed, "b": B}, looked_at={"a": BOXED_ONLY})

    settings = [r["setting"] for r in _rows(section, "end_to_end") if r["localizer"] == "a"]
    assert sorted(set(settings)) == ["disease given", "gated"]
    assert {r["localizer"] for r in _rows(section, "froc")} == {"b", *CONTROLS}
    note = next(p for p in section.paragraphs if p.startswith("a predicted only boxed images"))
    assert "--images all" in note
    assert "data.predict: all" in note


def test_if_no_localizer_saw_other_images_froc_shows_the_controls_alone() -> None:
    boxed = [box for box in A if box.image_id in BOXED_ONLY]

    section = _section({"a": boxed}, looked_at={"a": BOXED_ONLY})

    assert {r["localizer"] for r in _rows(section, "froc")} == {*CONTROLS}


def test_if_all_images_are_boxed_there_is_no_froc() -> None:
    images = [image for image in COCO["images"] if image["file_name"] in BOXED_ONLY]
    boxed = [box for box in A if box.image_id in BOXED_ONLY]

    section = end_to_end(evaluated({**COCO, "images": images}, {"a": boxed}, GATE))

    assert [t.name for t in section.tables] == ["gate_ledger", "end_to_end", "false_boxes"]
    assert section.figures == ()


def test_images_not_looked_at_and_images_not_decided_on_are_counted_in_notes() -> None:
    seen = frozenset(IMAGES.image_ids[:40])
    clear = next(i for i in IMAGES.image_ids[:40] if i not in BOXED_ONLY)
    gate = {pair: yes for pair, yes in GATE.items() if pair != (clear, "Mass")}
    lost = sum(image not in seen for image in TRUTH.image_ids)

    section = _section({"a": [b for b in A if b.image_id in seen]}, gate, {"a": seen})

    notes = " ".join(next(t for t in section.tables if t.name == "end_to_end").notes)
    assert f"a did not predict 20 of 60 images, with {lost} ground-truth boxes" in notes
    assert "the gate lacks decisions for 1 images that a predicted" in notes
    rows = [r for r in _rows(section, "end_to_end") if r["localizer"] == "a"]
    images = {r["setting"]: r["images"] for r in rows}
    assert (images["end to end"], images["every disease asked"]) == ("39", "40")


def test_a_localizer_that_was_asked_for_the_true_diseases_alone_is_suspected() -> None:
    rows, columns = np.nonzero(IMAGES.status == BOXED)
    pairs = {(IMAGES.image_ids[r], IMAGES.diseases[c]) for r, c in zip(rows, columns, strict=True)}

    section = _section({"a": [b for b in A if (b.image_id, b.disease) in pairs]})

    assert any("was every disease requested" in p for p in section.paragraphs)


def test_sentences_and_alt_texts_hold_the_figures_of_the_tables() -> None:
    section = _section({"a": A})
    row = next(
        r
        for r in _rows(section, "end_to_end")
        if (r["localizer"], r["setting"], r["threshold"]) == ("a", "end to end", "0.5")
    )

    text = " ".join(section.paragraphs)
    assert f"{row['hits']} of {row['boxes']} boxes hit" in text
    false = f"{float(row['false boxes per image']):.3f}"
    assert f"with {false.removeprefix('0')} [" in text
    alt = section.figures[1].alt
    assert "end to end: hit = IoU > 0.5" in alt
    assert f"at {false}" in alt


def test_the_figure_has_a_panel_for_all_diseases_and_each_and_names_the_research_use() -> None:
    figure = _section({"a": A, "b": B}).figures[1].figure

    boxes = TRUTH.boxes_per_disease
    assert [axis.get_title() for axis in figure.axes if axis.get_visible()] == [
        f"all diseases (n = {len(TRUTH)})",
        *(f"{d} (n = {n})" for d, n in boxes.items()),
    ]
    assert all(axis.get_xscale() == "log" for axis in figure.axes)
    curves = [line for line in figure.axes[0].lines if len(np.asarray(line.get_xydata())) > 1]
    assert len({line.get_linestyle() for line in curves[:2]}) == 2
    legend = figure.legends[0]
    controls = [f"{name} (control)" for name in CONTROLS]
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", *controls]
    assert RESEARCH_USE in legend.get_title().get_text()


def test_controls_are_grey_and_told_apart_by_their_lines() -> None:
    figure = _section({"a": A}).figures[0].figure

    curves = [line for line in figure.axes[0].lines if len(np.asarray(line.get_xydata())) > 1]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["a", "prior_box (control)", "constant_box (control)"]
    assert [line.get_color() for line in curves] == [COLOURS[0], *CONTROL_GREYS[:2]]
    assert curves[1].get_linestyle() != curves[2].get_linestyle()


def test_every_column_has_an_entry_in_the_words() -> None:
    for table in _section({"a": A}).tables:
        for column in next(csv.reader(io.StringIO(to_csv(table)))):
            if not column.startswith(tuple(IMAGES.diseases)):
                assert lookup(column).definition


def test_the_same_inputs_in_any_order_give_the_same_tables() -> None:
    forth, back = _section({"a": A, "b": B}), _section({"a": A[::-1], "b": B[::-1]})

    assert list(map(to_csv, forth.tables)) == list(map(to_csv, back.tables))
    assert forth.paragraphs == back.paragraphs


def test_tables_of_a_localizer_without_boxes_hold_no_undefined_figure() -> None:
    for table in _section({"a": []}).tables:
        assert "undefined" not in to_markdown(table)
        assert "nan" not in to_latex(table).lower()


def test_without_any_localizer_the_controls_stand_alone() -> None:
    section = _section({})

    for table in section.tables:
        assert {r["localizer"] for r in _rows(section, table.name)} == {*CONTROLS}
    assert "prior_box and constant_box box every disease" in section.paragraphs[-1]


def test_a_box_on_an_image_that_was_not_looked_at_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'a' has a box on \d+, which is outside its coverage"):
        _section({"a": A}, looked_at={"a": BOXED_ONLY})


@pytest.mark.slow
def test_a_thousand_images_eight_diseases_and_four_localizers_take_seconds() -> None:
    coco = _coco(1026, NIH_BOXED_DISEASES)
    images = ground_truth_from_coco(coco).images
    predictions = {f"l{i}": _boxes(images.image_ids, images.diseases, i) for i in range(4)}
    gate = {(i, d): d != "Mass" for i in images.image_ids for d in images.diseases}
    everyone = evaluated(coco, predictions, gate, resamples=2000)
    started = time.process_time()

    end_to_end(everyone)

    assert time.process_time() - started < 30
