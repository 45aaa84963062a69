"""Tabulate a comparison of networks with published figures, and its figures by body part."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from cxrloc.classification.metrics.bootstrap import MACRO_MEAN, Estimate
from cxrloc.classification.metrics.examinations import HALF
from cxrloc.classification.metrics.folds import FIGURES
from cxrloc.classification.metrics.networks import Comparison, DiseaseDifference, Pair
from cxrloc.classification.metrics.sampled import Sampled
from cxrloc.classification.metrics.scored_images import ScoredImages
from cxrloc.classification.report.confusion import confusion_tables
from cxrloc.classification.report.examinations import (
    TITLES,
    confusion_text,
    level_records,
    published,
    published_note,
)
from cxrloc.classification.report.published import (
    PublishedStudy,
    studies_by_disease,
    studies_of_means,
)
from cxrloc.classification.report.tables import (
    Cell,
    ResultTable,
    TableRow,
    Value,
    estimate_record,
)

_HEADS = {
    "auc": "macro AUC",
    "ap": "macro AP",
    "brier": "macro Brier",
    "sensitivity_youden": "sensitivity (TPR), Youden",
    "specificity_youden": "specificity (TNR), Youden",
    "f1_youden": "F1, Youden",
    "sensitivity_target": "sensitivity (TPR), target",
    "specificity_target": "specificity (TNR), target",
    "f1_target": "F1, target",
}
_OTHER_IMAGES = "Published figures are on other images and cannot be subtracted from ours"


def network_result_tables(comparison: Comparison) -> tuple[ResultTable, ...]:
    """Networks, AUC per disease with published figures, confusion, and pairwise differences."""
    tables = [_networks_table(comparison), _auc_table(comparison), *confusion_tables(comparison)]
    return (*tables, *(_pair_table(pair, comparison.images) for pair in comparison.pairs))


def network_records(comparison: Comparison) -> list[dict[str, object]]:
    """networks.csv: one line per network or publication and disease or macro mean."""
    records = []
    for network, figures in zip(comparison.networks, comparison.figures, strict=True):
        for i, disease in enumerate([*network.images.diseases, MACRO_MEAN]):
            record: dict[str, object] = {"network": network.name, "disease": disease}
            record |= {"scored_on": "the same images out of fold", "images": len(network.images)}
            record["measure"] = "mean AUC" if disease == MACRO_MEAN else "AUC"
            record["members"] = " + ".join(network.members)
            for name in FIGURES:
                record |= estimate_record(name, _figure(figures.get(name), i))
            records.append(record)
    return records + _published_records(comparison, list(records[0]))


def difference_records(comparison: Comparison) -> list[dict[str, object]]:
    """differences.csv: one line per pair and disease or macro mean; AUC of first minus second."""
    records: list[dict[str, object]] = []
    for pair in comparison.pairs:
        names = {"first": pair.first, "second": pair.second}
        for row in pair.diseases:
            records.append(
                {
                    **names,
                    "disease": row.disease,
                    **estimate_record("auc_difference", row.bootstrap),
                    "delong_se": row.delong.standard_error,
                    "delong_z": row.delong.z,
                    "delong_p": row.delong.p,
                    "delong_holm_p": row.holm_p,
                    "note": row.delong.reason,
                }
            )
        records.append(
            {**names, "disease": MACRO_MEAN, **estimate_record("auc_difference", pair.macro)}
        )
    return records


def _figure(sampled: Sampled | None, column: int) -> Estimate:
    """The figure of a disease, or the macro mean after the last disease."""
    if sampled is None:
        return Estimate(math.nan, reason="no threshold was chosen")
    return sampled.macro if column == len(sampled.points) else sampled.estimate(column)


def _published_records(comparison: Comparison, columns: Sequence[str]) -> list[dict[str, object]]:
    empty: dict[str, object] = dict.fromkeys(columns)
    diseases = comparison.images.diseases
    return [
        {
            **empty,
            "network": s.study,
            "disease": disease,
            "scored_on": f"published: {s.scored_on}",
            "measure": s.measure,
            "auc": float(value),
        }
        for s in (*studies_by_disease(diseases), *studies_of_means(diseases))
        for disease, value in s.values.items()
    ]


def _networks_table(comparison: Comparison) -> ResultTable:
    images = comparison.images
    rows = [
        TableRow(
            "",
            {"network": network.name},
            {_HEADS[name]: _macro_cell(figures.get(name)) for name in FIGURES},
            {"scored on": "these images, out of fold"},
        )
        for network, figures in zip(comparison.networks, comparison.figures, strict=True)
    ]
    rows += [
        _published_row(study, f"{study.values[MACRO_MEAN]} ({study.measure})")
        for study in studies_of_means(images.diseases)
    ]
    rows += [
        _published_row(study, f"{mean:.4f}")
        for study in studies_by_disease(images.diseases)
        if (mean := study.mean_over(images.diseases)) is not None
    ]
    return ResultTable(
        "networks",
        f"Networks: {len(images)} images of {len(set(images.patient_ids))} patients, "
        f"{len(images.diseases)} diseases",
        tuple(rows),
        _network_notes(comparison),
    )


def _published_row(study: PublishedStudy, auc: str) -> TableRow:
    lead, trail = {"network": f"published: {study.study}"}, {"scored on": study.scored_on}
    return TableRow("", lead, {_HEADS["auc"]: auc}, trail)


def _macro_cell(sampled: Sampled | None) -> Value:
    return "no threshold" if sampled is None else Cell(sampled.macro)


def _network_notes(comparison: Comparison) -> tuple[str, ...]:
    undefined = np.isnan(comparison.figures[0]["auc"].points)
    diseases = [d for d, no in zip(comparison.images.diseases, undefined, strict=True) if no]
    aims = dict.fromkeys(
        f"{n.images.sensitivity:g}" for n in comparison.networks if n.images.thresholds
    )
    return (
        "Each image is predicted by a model that held its patient out. Brackets: 95 % interval of "
        "a bootstrap over patients",
        "macro: mean over the diseases with an AUC"
        + (f", here without {', '.join(diseases)}" if diseases else ", here all"),
        "Thresholds are chosen on validation images, by Youden or for a sensitivity of "
        f"{' or '.join(aims) or 'none'} there (target)",
        "An ensemble is the mean of its networks' probabilities on each image, all of them out of "
        "fold",
        f"{_OTHER_IMAGES}. If a publication reports every one of our diseases, its macro AUC is "
        "our mean of these; other figures are as published, with their own measure in parentheses",
    )


def _auc_table(comparison: Comparison) -> ResultTable:
    diseases = comparison.images.diseases
    estimates = {
        network.name: figures["auc"].columns
        for network, figures in zip(comparison.networks, comparison.figures, strict=True)
    }
    rows = []
    for i, disease in enumerate([*diseases, MACRO_MEAN]):
        cells: dict[str, Value] = {name: Cell(figures[i]) for name, figures in estimates.items()}
        for study in studies_by_disease(diseases):
            head = f"published: {study.study}, {study.scored_on}"
            cells[head] = _printed(study, disease, diseases)
        rows.append(TableRow("", {"disease": disease}, cells))
    return ResultTable("auc", "AUC per disease", tuple(rows), (_OTHER_IMAGES,))


def _printed(study: PublishedStudy, disease: str, diseases: Sequence[str]) -> str:
    if disease != MACRO_MEAN:
        return study.values.get(disease, "")
    mean = study.mean_over(diseases)
    return "" if mean is None else f"{mean:.4f}"


def _pair_table(pair: Pair, images: ScoredImages) -> ResultTable:
    rows = [_pair_row(row.disease, row.bootstrap, row) for row in pair.diseases]
    return ResultTable(
        "differences",
        f"Difference in AUC: {pair.first} minus {pair.second}",
        (*rows, _pair_row(MACRO_MEAN, pair.macro)),
        (
            f"DeLong's test treats the {len(images)} images as independent. Images of one patient "
            "are not, so its p-values can be too small: trust the interval, which resamples "
            "patients",
            "Holm's p corrects over the diseases of this pair, not over all pairs",
            *images.parts_notes,
        ),
    )


def _pair_row(
    disease: str, difference: Estimate, tested: DiseaseDifference | None = None
) -> TableRow:
    cells: dict[str, Value] = {"difference (bootstrap by patient)": Cell(difference)}
    if tested is not None:
        test = tested.delong
        cells |= {"DeLong's error": _or(test.standard_error), "z": _or(test.z)}
        cells |= {"p": _or(test.p, test.reason), "Holm's p": _or(tested.holm_p)}
    return TableRow("", {"disease": disease}, cells)


def _or(value: float, otherwise: str = "") -> Value:
    return otherwise if math.isnan(value) else value


_NOTES = (
    "Brackets: 95 % interval of a bootstrap over patients; undefined with fewer than two patients "
    "behind the figure (AUC: in the rarer class). For figures at the validation point see each "
    "run's studies.md",
    "The row of all parts, and every figure above, mixes parts of different difficulty and "
    "prevalence: quote it with the rows by part",
)


def network_part_tables(comparison: Comparison) -> list[ResultTable]:
    """One table for examinations and one for images per disease; none if no part is known."""
    return [
        ResultTable(
            f"{level}_by_part",
            f"{TITLES[level]} by body part: {disease}",
            tuple(_rows(comparison, level, number)),
            (*_NOTES, published_note()),
        )
        for level in comparison.by_part[0]
        for number, disease in enumerate(comparison.images.diseases)
    ]


def network_part_records(comparison: Comparison) -> list[dict[str, object]]:
    """One line per network, level, disease and part; predicted present at 0.5."""
    return [
        {"network": network.name, **record}
        for network, by_level in zip(comparison.networks, comparison.by_part, strict=True)
        for record in level_records(by_level, comparison.images.diseases)
        if record["rule"] == HALF
    ]


def _rows(comparison: Comparison, level: str, disease: int) -> Iterator[TableRow]:
    """The networks for each part, one below the other."""
    of_networks = [
        [row for row in levels[level] if (row.disease, row.rule) == (disease, HALF)]
        for levels in comparison.by_part
    ]
    for of_part in zip(*of_networks, strict=True):
        for network, row in zip(comparison.networks, of_part, strict=True):
            yield TableRow(
                "",
                {"body part": row.body_part, "network": network.name},
                {
                    "n": row.units,
                    "AUC": Cell(row.auc),
                    "accuracy at 0.5": Cell(row.accuracy),
                    "kappa at 0.5": Cell(row.kappa),
                    "TP / FN / FP / TN at 0.5": confusion_text(row),
                    "published": published(level, row.body_part),
                },
            )
