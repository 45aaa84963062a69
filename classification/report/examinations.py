"""Figures of examinations and images by body part, as tables to read and as records.

Body parts stand above the figure over all of them, examinations apart from images, with published
figures beside them.
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

TITLES = {EXAMINATION: "Studies", IMAGE: "Images"}
_MEASURES = ("accuracy", "kappa", "AUC")
_MATRIX = ("true_positive", "false_negative", "false_positive", "true_negative")


def part_tables(images: ScoredImages, replicates: int, seed: int) -> list[ResultTable]:
    """The figures of images by part, to stand below figures over all parts.

    None where the images are of one part, or of unknown ones.
    """
    if not images.several_parts:
        return []
    levels = {IMAGE: agreements(images_of(images), replicates, seed)}
    return level_tables(levels, images.diseases)


def level_tables(found: Levels, diseases: Sequence[str]) -> list[ResultTable]:
    """A table for each level and disease; published figures, all of MURA, only with body parts."""
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
    """Whether body parts are known: of chest images `ALL_PARTS` is all there is."""
    return any(row.body_part != ALL_PARTS for row in rows)


def published(level: str, body_part: str) -> str:
    """Figures that others printed of this part of MURA, on other images."""
    name = body_part.removeprefix("XR_").lower()
    return "; ".join(
        f"{measure} {study.values[MACRO_MEAN]} ({short_name(study.study)})"
        for study in published_studies()
        for measure in _MEASURES
        if (study.scored_on, study.measure) == (f"MURA {name}", f"{level} {measure}")
    )


def short_name(study: str) -> str:
    """Who, without the network and the images in parentheses, which stand below the tables."""
    return study.partition(" (")[0]


def published_note() -> str:
    """Whose the published figures are."""
    names = dict.fromkeys(s.study for s in published_studies() if s.scored_on.startswith("MURA "))
    return (
        f"Published: {'; '.join(names)}. All are of MURA's images, whatever images ours are of; "
        "those of the hidden test part against the vote of three radiologists"
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
        "accuracy at validation's point": Cell(point.accuracy),
        "kappa at validation's point": Cell(point.kappa),
        "TP / FN / FP / TN there": confusion_text(point),
    }
    if parts:
        cells["published"] = published(level, half.body_part)
    return TableRow("", {"body part": half.body_part}, cells)


def confusion_text(row: ReaderAgreement) -> str:
    """TP / FN / FP / TN; empty where no unit was called anything."""
    return " / ".join(str(count) for count in _matrix(row).values()) if row.called else ""


def _matrix(row: ReaderAgreement) -> dict[str, int | None]:
    """The four counts; None where no unit was called anything."""
    return {name: getattr(row, name) if row.called else None for name in _MATRIX}


def _left_out(rows: Sequence[ReaderAgreement]) -> list[str]:
    """How many units have no operating point, a note a part that has such."""
    return [
        f"{row.body_part}: {row.without_point} of {row.units} are left out at validation's point, "
        "as their model has none"
        for row in rows
        if row.without_point
    ]


def _notes(level: str, parts: bool) -> tuple[str, ...]:
    mixed = (
        "The row of all parts mixes parts of different difficulty and prevalence: quote it with "
        "theirs",
        published_note(),
    )
    mean = ("The probability of a study is the mean over its images; its label is theirs",)
    return (
        *(mean if level == EXAMINATION else ()),
        "In brackets the 95 % interval of a bootstrap over patients; undefined where fewer than "
        "two carry the figure (AUC: are of the rarer class)",
        f"Validation's point: Youden's J on the {level} probabilities of the validation patients "
        "(of a mean of folds: of patients out of fold who are not scored here)",
        "Kappa: Cohen's",
        *(mixed if parts else ()),
    )
