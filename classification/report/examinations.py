"""Tabulate figures of examinations and images by body part, for readers and as records.

Rows for body parts precede the row for all; examinations and images are separate, with published
figures next to them.
"""

from __future__ import annotations

from collections.abc import Sequence

from cxrloc.classification.metrics.bootstrap import MACRO_MEAN
from cxrloc.classification.metrics.examinations import (
    ALL_PARTS,
    EXAMINATION,
    IMAGE,
    Levels,
    ReaderAgreement,
    agreements,
    images_of,
)
from cxrloc.classification.metrics.scored_images import ScoredImages
from cxrloc.classification.report.published import published_studies
from cxrloc.classification.report.tables import Cell, ResultTable, TableRow, Value, estimate_record

TITLES = {EXAMINATION: "Examinations", IMAGE: "Images"}
_MEASURES = ("accuracy", "kappa", "AUC")
_MATRIX = ("true_positive", "false_negative", "false_positive", "true_negative")


def part_tables(images: ScoredImages, replicates: int, seed: int) -> list[ResultTable]:
    """Figures of images by part, to print below the overall figures.

    Empty if the images show one part, or unknown ones.
    """
    if not images.several_parts:
        return []
    levels = {IMAGE: agreements(images_of(images), replicates, seed)}
    return level_tables(levels, images.diseases)


def level_tables(found: Levels, diseases: Sequence[str]) -> list[ResultTable]:
    """One table per level and disease; published figures, all on MURA, only with body parts."""
    tables = []
    for level, rows in found.items():
        parts = _of_parts(rows)
        for number, disease in enumerate(diseases):
            of_disease = [row for row in rows if row.disease == number]
            pairs = zip(of_disease[::2], of_disease[1::2], strict=True)
            lines = tuple(_row(level, half, point, parts) for half, point in pairs)
            notes = (*_notes(level, parts), *_left_out(of_disease))
            tables.append(ResultTable(level, f"{TITLES[level]}: {disease}", lines, notes))
    return tables


def level_records(found: Levels, diseases: Sequence[str]) -> list[dict[str, object]]:
    """One line per level, disease, part and rule, for a CSV."""
    return [
        {
            "level": level,
            "disease": diseases[row.disease],
            "body_part": row.body_part,
            "rule": row.rule,
            "units": row.units,
            "patients": row.patients,
            "without_point": row.without_point,
            **_matrix(row),
            **estimate_record("accuracy", row.accuracy),
            **estimate_record("kappa", row.kappa),
            **estimate_record("auc", row.auc),
            "published": published(level, row.body_part) if _of_parts(rows) else "",
        }
        for level, rows in found.items()
        for row in rows
    ]


def _of_parts(rows: Sequence[ReaderAgreement]) -> bool:
    """Whether body parts are known; chest images have only `ALL_PARTS`."""
    return any(row.body_part != ALL_PARTS for row in rows)


def published(level: str, body_part: str) -> str:
    """Published figures for this part of MURA, on other images."""
    name = body_part.removeprefix("XR_").lower()
    return "; ".join(
        f"{measure} {study.values[MACRO_MEAN]} ({short_name(study.study)})"
        for study in published_studies()
        for measure in _MEASURES
        if (study.scored_on, study.measure) == (f"MURA {name}", f"{level} {measure}")
    )


def short_name(study: str) -> str:
    """The authors, without the network and images in parentheses, which are below the tables."""
    return study.partition(" (")[0]


def published_note() -> str:
    """Sources of the published figures."""
    names = dict.fromkeys(s.study for s in published_studies() if s.scored_on.startswith("MURA "))
    return (
        f"Published: {'; '.join(names)}. All are on MURA's images, whatever ours are; those on the "
        "hidden test part compare with the vote of three radiologists"
    )


def _row(level: str, half: ReaderAgreement, point: ReaderAgreement, parts: bool) -> TableRow:
    cells: dict[str, Value] = {
        "n": half.units,
        "patients": half.patients,
        "positive": half.true_positive + half.false_negative,
        "AUC": Cell(half.auc),
        "accuracy at 0.5": Cell(half.accuracy),
        "kappa at 0.5": Cell(half.kappa),
        "TP / FN / FP / TN at 0.5": confusion_text(half),
        "accuracy at the validation point": Cell(point.accuracy),
        "kappa at the validation point": Cell(point.kappa),
        "TP / FN / FP / TN at the validation point": confusion_text(point),
    }
    if parts:
        cells["published"] = published(level, half.body_part)
    return TableRow("", {"body part": half.body_part}, cells)


def confusion_text(row: ReaderAgreement) -> str:
    """TP / FN / FP / TN; empty if no unit has a prediction."""
    return " / ".join(str(count) for count in _matrix(row).values()) if row.called else ""


def _matrix(row: ReaderAgreement) -> dict[str, int | None]:
    """The four counts; None if no unit has a prediction."""
    return {name: getattr(row, name) if row.called else None for name in _MATRIX}


def _left_out(rows: Sequence[ReaderAgreement]) -> list[str]:
    """Notes on units without an operating point, one per affected part."""
    return [
        f"{row.body_part}: {row.without_point} of {row.units} left out at the validation point, "
        "because their model has none"
        for row in rows
        if row.without_point
    ]


def _notes(level: str, parts: bool) -> tuple[str, ...]:
    mixed = (
        "The row of all parts mixes parts of different difficulty and prevalence: quote it with "
        "the rows by part",
        published_note(),
    )
    mean = ("An examination's probability is the mean over its images; it is positive if any is",)
    return (
        *(mean if level == EXAMINATION else ()),
        "Brackets: 95 % interval of a bootstrap over patients; undefined with fewer than two "
        "patients behind the figure (AUC: in the rarer class)",
        "Validation point: Youden's J on these probabilities of the validation patients (for a "
        "mean of folds: of out-of-fold patients who are not scored here)",
        "Kappa: Cohen's",
        *(mixed if parts else ()),
    )
