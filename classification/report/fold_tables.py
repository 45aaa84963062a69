"""Tabulate a cross-validation: one row per disease and the macro mean; two stages side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cxrloc.classification.metrics.bootstrap import MACRO_MEAN, Estimate
from cxrloc.classification.metrics.folds import (
    FIGURES,
    Spread,
    Spreads,
    fold_spreads,
    sample_figures,
)
from cxrloc.classification.metrics.sampled import Sampled
from cxrloc.classification.metrics.scored_images import TARGET, YOUDEN, ScoredImages
from cxrloc.classification.report.published import studies_of_means
from cxrloc.classification.report.tables import (
    Cell,
    ResultTable,
    TableRow,
    Value,
    estimate_record,
    value_text,
)

POOLED = "A pooled AUC mixes the scales of the folds' models"


@dataclass(frozen=True)
class FoldRow:
    """One disease, or the macro mean over all.

    Attributes:
        images: number with a known label; all images in the macro row.
        positives: None in the macro row.
        pooled: figure -> value over all images, with its interval.
        spreads: figure -> spread over the folds.
    """

    disease: str
    images: int
    positives: int | None
    pooled: dict[str, Estimate]
    spreads: dict[str, Spread]

    def record(self) -> dict[str, object]:
        """The columns of cross_validation.csv; None if there is no figure."""
        record: dict[str, object] = {"disease": self.disease, "images": self.images}
        record["positives"] = self.positives
        for name, figure in self.pooled.items():
            spread = self.spreads[name]
            record |= {
                **estimate_record(name, figure),
                f"{name}_fold_mean": spread.mean,
                f"{name}_fold_sd": spread.deviation,
                f"{name}_folds": spread.folds,
            }
        return record


def fold_rows(images: ScoredImages, replicates: int, seed: int) -> tuple[FoldRow, ...]:
    """A row per disease, then the macro mean.

    Args:
        images: out of fold, with thresholds of both rules; without them the rows contain only AUC,
            AP and Brier score.
        replicates, seed: parameters of the patient bootstrap.
    """
    return _fold_rows(images, sample_figures(images, replicates, seed), fold_spreads(images))


def _fold_rows(
    images: ScoredImages, figures: Mapping[str, Sampled], spreads: Spreads
) -> tuple[FoldRow, ...]:
    names = [name for name in FIGURES if name in figures]
    estimates = {name: figures[name].estimates for name in names}
    rows = [
        FoldRow(
            disease,
            int((~np.isnan(images.labels[:, i])).sum()),
            int((images.labels[:, i] == 1).sum()),
            {name: estimates[name][i] for name in names},
            {name: spreads[name][0][i] for name in names},
        )
        for i, disease in enumerate(images.diseases)
    ]
    macro = {name: figures[name].macro for name in names}
    rows.append(FoldRow(MACRO_MEAN, len(images), None, macro, {n: spreads[n][1] for n in names}))
    return tuple(rows)


def rule_label(rule: str, images: ScoredImages) -> str:
    """`Youden's threshold`, or `threshold for sensitivity 0.9`."""
    words = {
        YOUDEN: "Youden's threshold",
        TARGET: f"threshold for sensitivity {images.sensitivity}",
    }
    return words[rule]


def fold_result_tables(
    images: ScoredImages, rows: Sequence[FoldRow]
) -> tuple[ResultTable, ResultTable]:
    """Tables of ranking and calibration and of decisions, with the notes a reader needs."""
    folds, patients = len(np.unique(images.folds)), len(set(images.patient_ids))
    ranking = ResultTable(
        "ranking",
        f"Ranking and calibration: {len(images)} images, {patients} patients, "
        + (f"{folds} folds" if folds > 1 else "one split"),
        tuple(_row(row, {"auc": "AUC", "ap": "AP", "brier": "Brier"}, folds) for row in rows),
        (
            "Every image is predicted by a model that held its patient out",
            f"Brackets: 95 % interval, bootstrap over {patients} patients",
            *(_OF_FOLDS if folds > 1 else ()),
            "A random ranking has AUC .5 and an AP equal to the prevalence p; always saying p has "
            "a Brier score of p (1 - p)",
            _macro_note(rows),
        ),
    )
    heads = {
        f"{figure}_{rule}": f"{share}, {rule_label(rule, images)}"
        for rule in (YOUDEN, TARGET)
        for figure, share in _SHARES.items()
    }
    decisions = ResultTable(
        "decisions",
        "Decisions",
        tuple(_row(row, heads, folds) for row in rows),
        (
            "Thresholds are chosen on validation images, never on the images scored here",
            *_undecided_notes(images),
        ),
    )
    return ranking, decisions


_SHARES = {"sensitivity": "sensitivity (TPR)", "specificity": "specificity (TNR)", "f1": "F1"}
_OF_FOLDS = (
    "Over folds: mean and standard deviation; no standard error: folds share training images",
    f"{POOLED}; the mean over folds does not",
)


def _row(row: FoldRow, heads: Mapping[str, str], folds: int) -> TableRow:
    """One column per figure, followed by its spread if there are several folds."""
    counts = "" if row.positives is None else f"{row.positives} / {row.images}"
    cells: dict[str, Value] = {"positives / images": counts}
    for name, head in heads.items():
        cells[head] = Cell(row.pooled[name])
        if folds > 1:
            cells[f"{head}, over folds"] = _spread_text(row.spreads[name])
    return TableRow("", {"disease": row.disease}, cells)


def _spread_text(spread: Spread) -> str:
    if spread.mean is None:
        return "undefined"
    deviation = "" if spread.deviation is None else f" ± {value_text(spread.deviation)}"
    return value_text(spread.mean) + deviation


def _macro_note(rows: Sequence[FoldRow]) -> str:
    *diseases, macro = rows
    undefined = [row.disease for row in diseases if not row.pooled["auc"].defined]
    some = [
        row.disease for row in diseases if row.spreads["auc"].folds < macro.spreads["auc"].folds
    ]
    note = f"{MACRO_MEAN}: over {len(diseases) - len(undefined)} of {len(diseases)} diseases"
    note += f" (undefined: {', '.join(undefined)})" if undefined else ""
    note += f"; in {macro.pooled['auc'].replicates} resamples every one of them has positive and "
    note += "negative images, in the others the mean is over those that do"
    if some:
        note += f"; over folds without {', '.join(some)}, undefined in some fold"
    return note


def _undecided_notes(images: ScoredImages) -> tuple[str, ...]:
    """Name diseases without a threshold in some fold; their images count as predicted absent."""
    notes = []
    for rule in images.thresholds:
        without = np.isnan(images.thresholds[rule]).sum(axis=0)
        diseases = [f"{d} ({n} images)" for d, n in zip(images.diseases, without, strict=True) if n]
        if diseases:
            notes.append(
                f"No {rule_label(rule, images)} exists in every fold; images without one count as "
                f"predicted absent: {', '.join(diseases)}"
            )
    return tuple(notes)


STAGES = ("frozen", "fine-tuned")
_MACROS = {"auc": "macro AUC", "ap": "macro AP", "brier": "macro Brier"}


def stage_report(
    stages: Sequence[ScoredImages], replicates: int, seed: int
) -> tuple[list[dict[str, object]], ResultTable]:
    """Lines of cross_validation.csv for each stage, and a table of both.

    The lines cover every disease and the macro mean. The table has the macro means of the stages
    and of their paired difference.

    Args:
        stages: all images out of fold, predicted by the best epoch of the first and of the second
            stage; the same images in the same order.
        replicates, seed: parameters of the patient bootstrap.
    """
    figures = [sample_figures(images, replicates, seed) for images in stages]
    spreads = [fold_spreads(images) for images in stages]
    records = [
        {**row.record(), "stage": name}
        for name, images, sampled, spread in zip(STAGES, stages, figures, spreads, strict=True)
        for row in _fold_rows(images, sampled, spread)
    ]
    frozen, tuned = figures
    difference = {name: tuned[name] - frozen[name] for name in _MACROS}
    rows = [
        *(_stage_row(*of_stage) for of_stage in zip(STAGES, figures, spreads, strict=True)),
        _stage_row("fine-tuned minus frozen", difference, {}),
    ]
    return records, _stage_table(rows, stages[0], replicates)


def _stage_table(rows: Sequence[TableRow], images: ScoredImages, replicates: int) -> ResultTable:
    return ResultTable(
        "stages",
        "Stages",
        (*rows, *_published(images.diseases)),
        (
            "frozen: the head, trained on the frozen backbone. fine-tuned: then all layers. Each "
            "uses the epoch with the highest AUC on the fold's validation images and is scored on "
            "the same images out of fold. All other tables show the stage that is better on the "
            "fold's validation images",
            f"The difference is paired by image, over {replicates} resamples of patients",
            "Published figures refer to other images and NIH's 14 labels",
            *images.parts_notes,
        ),
    )


def _stage_row(name: str, figures: Mapping[str, Sampled], spreads: Spreads) -> TableRow:
    cells: dict[str, Value] = {}
    for figure, head in _MACROS.items():
        cells[head] = Cell(figures[figure].macro)
        cells[f"{head}, over folds"] = _spread_text(spreads[figure][1]) if spreads else ""
    return TableRow("", {"stage": name}, cells)


def _published(diseases: Sequence[str]) -> list[TableRow]:
    return [
        TableRow("", {"stage": f"published: {s.study}"}, {_MACROS["auc"]: s.values[MACRO_MEAN]})
        for s in studies_of_means(diseases)
        if any(stage in s.study for stage in STAGES)
    ]
