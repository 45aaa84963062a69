"""What a run says of studies: studies.csv and studies.md in its folder.

Written where films have studies of several images. Parts stand above the figure over all of them,
images and studies apart, published figures beside.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cxrloc.classification.bootstrap import Array, Estimate
from cxrloc.classification.gate import read_gate_table
from cxrloc.classification.operating_point import OperatingPoint, operating_points
from cxrloc.classification.published_auc import MACRO, published_studies
from cxrloc.classification.run_parts import GATE_NAME, Part, Run
from cxrloc.classification.study_metrics import Agreement, JudgedUnits, agreements, studies_of
from cxrloc.classification.text_tables import TextTable, to_markdown, write_records
from cxrloc.datasets.files import write_text
from cxrloc.datasets.radiograph import Radiograph, label_matrix

STUDY_POINTS = "study_operating_points"  # in a part's metrics.json
_LEVELS = {"study": "Studies", "image": "Images"}
_MATRIX = ("true_positive", "false_negative", "false_positive", "true_negative")
_HEAD = (
    "body part",
    "n",
    "patients",
    "positive",
    "AUC",
    "accuracy at 0.5",
    "kappa at 0.5",
    "TP / FN / FP / TN at 0.5",
    "accuracy at validation's point",
    "kappa at validation's point",
    "TP / FN / FP / TN there",
    "published accuracy",
)


def have_studies(films: Sequence[Radiograph]) -> bool:
    """Whether some study has more than one of these films."""
    studies = [film.study_id for film in films if film.study_id]
    return len(set(studies)) < len(studies)


def study_points(
    films: Sequence[Radiograph], labels: Array, scores: Array, diseases: Sequence[str]
) -> dict[str, OperatingPoint]:
    """Operating point of studies per disease, from the (N, D) scores of validation images."""
    nothing = np.full(labels.shape, np.nan)
    studies = studies_of(_judged(films, labels, scores, nothing), _study_ids(films), nothing)
    return operating_points(studies.labels, studies.scores, diseases)


def write_study_report(run: Run, parts: Sequence[Part], metrics_name: str, out: Path) -> str:
    """Write the tables over the test films of all parts; returns the page, empty without studies.

    Every film is judged by its own part's model and points.
    """
    rows = [(part, row) for part in parts for row in read_gate_table(part.folder / GATE_NAME)]
    columns = len(run.diseases)
    films = [run.radiographs[row.image_id] for _, row in rows[::columns]]
    if not have_studies(films):
        return ""
    points = {part.folder: _points(part.folder / metrics_name) for part in parts}
    of_studies = [points[part.folder].get(row.disease) for part, row in rows]
    cells = [
        (row.probability, row.threshold, cut)
        for (_, row), cut in zip(rows, of_studies, strict=True)
    ]
    matrices = np.array(cells, dtype=np.float64).reshape(len(films), columns, 3)  # None is NaN
    scores, thresholds, study_thresholds = np.moveaxis(matrices, -1, 0)
    labels = label_matrix(films, run.diseases)
    images = _judged(films, labels, scores, thresholds)
    judged = {"study": studies_of(images, _study_ids(films), study_thresholds), "image": images}
    train = run.config.train
    found = {level: agreements(j, train.bootstrap, train.seed) for level, j in judged.items()}
    write_records(out / "studies.csv", _records(found, run.diseases))
    page = to_markdown(f"Studies: {out.name}", _tables(found, run.diseases))
    write_text(out / "studies.md", page)
    return page


def _judged(
    films: Sequence[Radiograph], labels: Array, scores: Array, thresholds: Array
) -> JudgedUnits:
    patients, parts = ([getattr(f, name) for f in films] for name in ("patient_id", "body_part"))
    return JudgedUnits(tuple(patients), tuple(parts), labels, scores, thresholds)


def _study_ids(films: Sequence[Radiograph]) -> list[str]:
    return [film.study_id for film in films]


def _points(metrics: Path) -> dict[str, float | None]:
    """Disease -> operating point of studies that a part chose; empty of an older part."""
    stored: Mapping[str, Any] = json.loads(metrics.read_text()).get(STUDY_POINTS, {})
    return {disease: point["threshold"] for disease, point in stored.items()}


def _tables(found: Mapping[str, list[Agreement]], diseases: Sequence[str]) -> list[TextTable]:
    tables = []
    for level, title in _LEVELS.items():
        for number, disease in enumerate(diseases):
            mine = [row for row in found[level] if row.disease == number]
            pairs = zip(mine[::2], mine[1::2], strict=True)
            rows = tuple(_cells(level, half, point) for half, point in pairs)
            notes = (*_notes(level), *_left_out(mine))
            tables.append(TextTable(f"{title}: {disease}", _HEAD, rows, notes))
    return tables


def _cells(level: str, half: Agreement, point: Agreement) -> tuple[str, ...]:
    positives = half.true_positive + half.false_negative
    return (
        half.body_part, str(half.units), str(half.patients), str(positives), _text(half.auc),
        _text(half.accuracy), _text(half.kappa), _confusion(half),
        _text(point.accuracy), _text(point.kappa), _confusion(point),
        _published(level, half.body_part),
    )  # fmt: skip


def _text(figure: Estimate) -> str:
    return f"undefined: {figure.reason}" if figure.value is None else str(figure)


def _confusion(row: Agreement) -> str:
    return " / ".join(str(count) for count in _matrix(row).values()) if row.called else ""


def _matrix(row: Agreement) -> dict[str, int | None]:
    """The four counts; None where no unit was called anything."""
    return {name: getattr(row, name) if row.called else None for name in _MATRIX}


def _left_out(rows: Sequence[Agreement]) -> list[str]:
    """How many units have no operating point, a sentence a part that has such."""
    return [
        f"{row.body_part}: {row.without_point} of {row.units} are left out at validation's point, "
        "since the validation patients of their model gave none."
        for row in rows
        if row.without_point
    ]


def _published(level: str, body_part: str) -> str:
    """Figures that others printed of this part, on other films."""
    name = body_part.removeprefix("XR_").lower()
    return "; ".join(
        f"{study.values[MACRO]} ({study.study})"
        for study in published_studies()
        if study.scored_on == f"MURA {name}" and study.measure == f"{level} accuracy"
    )


def _notes(level: str) -> tuple[str, ...]:
    mean = ("The probability of a study is the mean over its images; its label is theirs.",)
    return (
        *(mean if level == "study" else ()),
        "In brackets the 95 % interval of a bootstrap over patients.",
        f"Validation's point: Youden's J on the {level} probabilities of the validation patients.",
        "Kappa: Cohen's. The row of all parts mixes parts of different difficulty and prevalence.",
        "Published accuracies are of the release's films, whatever films ours are of.",
    )


def _records(
    found: Mapping[str, list[Agreement]], diseases: Sequence[str]
) -> list[dict[str, object]]:
    return [
        {"level": level, "disease": diseases[row.disease], "body_part": row.body_part,
         "rule": row.rule, "units": row.units, "patients": row.patients,
         "without_point": row.without_point, **_matrix(row),
         **_figure("accuracy", row.accuracy), **_figure("kappa", row.kappa),
         **_figure("auc", row.auc), "published_accuracy": _published(level, row.body_part)}
        for level, rows in found.items()
        for row in rows
    ]  # fmt: skip


def _figure(name: str, figure: Estimate) -> dict[str, object]:
    return {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}
