"""The tables of a comparison of networks, published figures beside, and those by body part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from cxrloc.classification.metrics.examinations import HALF
from cxrloc.classification.metrics.folds import FIGURES, Sampled
from cxrloc.classification.metrics.networks import Comparison, Pair
from cxrloc.classification.metrics.replicates import Estimate
from cxrloc.classification.metrics.scored_images import ScoredImages
from cxrloc.classification.report.confusion import confusion_tables
from cxrloc.classification.report.examinations import (
    TITLES,
    confusion_text,
    figure_text,
    level_records,
    published,
    published_note,
)
from cxrloc.classification.report.published import (
    MACRO,
    PublishedStudy,
    studies_by_disease,
    studies_of_means,
)
from cxrloc.classification.report.text_tables import TextTable

_HEADS = {
    "auc": "macro AUC", "ap": "macro AP", "brier": "macro Brier",
    "sensitivity_youden": "sensitivity (TPR), Youden",
    "specificity_youden": "specificity (TNR), Youden", "f1_youden": "F1, Youden",
    "sensitivity_target": "sensitivity (TPR), target",
    "specificity_target": "specificity (TNR), target", "f1_target": "F1, target",
}  # fmt: skip
_OTHER_IMAGES = (
    "Published figures are of other images than ours and cannot be subtracted from them."
)


def text_tables(comparison: Comparison) -> tuple[TextTable, ...]:
    """Networks and AUC per disease beside published ones, confusion, and differences of pairs."""
    tables = [_networks_table(comparison), _auc_table(comparison), *confusion_tables(comparison)]
    return (*tables, *(_pair_table(pair, comparison.images) for pair in comparison.pairs))


def network_records(comparison: Comparison) -> list[dict[str, object]]:
    """networks.csv: one line per network or published study and disease or macro mean."""
    records = []
    for network, figures in zip(comparison.networks, comparison.figures, strict=True):
        for i, disease in enumerate([*network.images.diseases, MACRO]):
            record: dict[str, object] = {"network": network.name, "disease": disease}
            record |= {"scored_on": "the same images out of fold", "images": len(network.images)}
            record["measure"] = "mean AUC" if disease == MACRO else "AUC"
            record["members"] = " + ".join(network.members)
            for name in FIGURES:
                record |= _fields(name, _figure(figures.get(name), i))
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
                    **_fields("auc_difference", row.bootstrap),
                    "delong_se": row.delong.standard_error,
                    "delong_z": row.delong.z,
                    "delong_p": row.delong.p,
                    "delong_holm_p": row.holm_p,
                    "note": row.delong.reason,
                }
            )
        records.append({**names, "disease": MACRO, **_fields("auc_difference", pair.macro)})
    return records


def _fields(name: str, figure: Estimate) -> dict[str, object]:
    return {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}


def _figure(sampled: Sampled | None, column: int) -> Estimate:
    """Of a disease, or of the macro mean behind the last disease."""
    if sampled is None:
        return Estimate(None, reason="no threshold was chosen")
    return sampled.macro if column == len(sampled.points) else sampled.estimates[column]


def _published_records(comparison: Comparison, columns: Sequence[str]) -> list[dict[str, object]]:
    empty: dict[str, object] = dict.fromkeys(columns)
    diseases = comparison.images.diseases
    return [
        {**empty, "network": s.study, "disease": disease, "scored_on": f"published: {s.scored_on}",
         "measure": s.measure, "auc": float(value)}
        for s in (*studies_by_disease(diseases), *studies_of_means(diseases))
        for disease, value in s.values.items()
    ]  # fmt: skip


def _networks_table(comparison: Comparison) -> TextTable:
    images = comparison.images
    rows = [
        (n.name, *(_macro_text(f.get(name)) for name in FIGURES), "these images, out of fold")
        for n, f in zip(comparison.networks, comparison.figures, strict=True)
    ]
    blank = ("",) * (len(FIGURES) - 1)
    rows += [(f"published: {s.study}", f"{s.values[MACRO]} ({s.measure})", *blank, s.scored_on)
             for s in studies_of_means(images.diseases)]  # fmt: skip
    rows += [
        (f"published: {s.study}", f"{mean:.4f}", *blank, s.scored_on)
        for s in studies_by_disease(images.diseases)
        if (mean := s.mean_over(images.diseases)) is not None
    ]
    return TextTable(
        f"Networks: {len(images)} images of {len(set(images.patient_ids))} patients, "
        f"{len(images.diseases)} diseases",
        ("network", *(_HEADS[name] for name in FIGURES), "scored on"),
        tuple(rows),
        _network_notes(comparison),
    )


def _macro_text(sampled: Sampled | None) -> str:
    return "no threshold" if sampled is None else str(sampled.macro)


def _network_notes(comparison: Comparison) -> tuple[str, ...]:
    undefined = np.isnan(comparison.figures[0]["auc"].points)
    named = [d for d, no in zip(comparison.images.diseases, undefined, strict=True) if no]
    aims = dict.fromkeys(f"{n.images.sensitivity:g}" for n in comparison.networks
                         if n.images.thresholds)  # fmt: skip
    return (
        "Each image is judged by a model that held its patient out. In parentheses: "
        "95 % interval of a bootstrap over patients.",
        "macro: mean over the diseases with an AUC"
        + (f", that is without {', '.join(named)}." if named else ", here all."),
        "Thresholds are chosen on validation images: by Youden, or for a sensitivity of "
        f"{' or '.join(aims) or 'none'} there (target).",
        "An ensemble is the mean of its networks' probabilities on each image, all of them out of "
        "fold.",
        f"{_OTHER_IMAGES} Where a study prints each of our diseases, its macro AUC is our mean of "
        "these; the figures of others are as printed, with "
        "their own measure in parentheses.",
    )


def _auc_table(comparison: Comparison) -> TextTable:
    diseases = comparison.images.diseases
    studies = studies_by_disease(diseases)
    estimates = [(*f["auc"].estimates, f["auc"].macro) for f in comparison.figures]
    rows = [
        (
            disease,
            *(str(e[i]) for e in estimates),
            *(_printed(s, disease, diseases) for s in studies),
        )
        for i, disease in enumerate([*diseases, MACRO])
    ]
    published = (f"published: {s.study}, {s.scored_on}" for s in studies)
    names = (network.name for network in comparison.networks)
    return TextTable(
        "AUC per disease", ("disease", *names, *published), tuple(rows), (_OTHER_IMAGES,)
    )


def _printed(study: PublishedStudy, disease: str, diseases: Sequence[str]) -> str:
    if disease != MACRO:
        return study.values.get(disease, "")
    mean = study.mean_over(diseases)
    return "" if mean is None else f"{mean:.4f}"


def _pair_table(pair: Pair, images: ScoredImages) -> TextTable:
    rows = [
        (row.disease, str(row.bootstrap), _number(row.delong.standard_error), _number(row.delong.z),
         _p(row.delong.p) or row.delong.reason, _p(row.holm_p))
        for row in pair.diseases
    ]  # fmt: skip
    rows.append((MACRO, str(pair.macro), "", "", "", ""))
    return TextTable(
        f"Difference in AUC: {pair.first} minus {pair.second}",
        ("disease", "difference (bootstrap by patient)", "DeLong's error", "z", "p", "Holm's p"),
        tuple(rows),
        (
            f"DeLong's test takes the {len(images)} images for independent. Images of one patient "
            "are not, so its p-values can be too small: believe the interval, which resamples "
            "patients.",
            "Holm's p is corrected over the diseases of this pair, not over all pairs.",
            *images.parts_notes,
        ),
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return "<.001" if value < 0.0005 else f"{value:.3f}"


_HEAD = (
    "body part", "network", "n", "AUC", "accuracy at 0.5", "kappa at 0.5",
    "TP / FN / FP / TN at 0.5", "published",
)  # fmt: skip
_NOTES = (
    "In parentheses the 95 % interval of a bootstrap over patients; none of one patient. Figures "
    "at validation's point stand in each run's studies.md.",
    "The row of all parts, and every figure above, mixes parts of different difficulty and "
    "prevalence: quote it with those of the parts.",
)


def network_part_tables(comparison: Comparison) -> list[TextTable]:
    """A table for studies and one for images, of each disease; none where no part is known."""
    return [
        TextTable(
            f"{TITLES[level]} by body part: {disease}",
            _HEAD,
            tuple(_rows(comparison, level, number)),
            (*_NOTES, published_note()),
        )
        for level in comparison.by_part[0]
        for number, disease in enumerate(comparison.images.diseases)
    ]


def network_part_records(comparison: Comparison) -> list[dict[str, object]]:
    """One line per network, level, disease and part; called present at 0.5."""
    return [
        {"network": network.name, **record}
        for network, found in zip(comparison.networks, comparison.by_part, strict=True)
        for record in level_records(found, comparison.images.diseases)
        if record["rule"] == HALF
    ]


def _rows(comparison: Comparison, level: str, disease: int) -> Iterator[tuple[str, ...]]:
    """The networks on each part, one below the other."""
    of_networks = [
        [row for row in found[level] if (row.disease, row.rule) == (disease, HALF)]
        for found in comparison.by_part
    ]
    for of_part in zip(*of_networks, strict=True):
        for network, row in zip(comparison.networks, of_part, strict=True):
            yield (
                row.body_part, network.name, str(row.units), figure_text(row.auc),
                figure_text(row.accuracy), figure_text(row.kappa), confusion_text(row),
                published(level, row.body_part),
            )  # fmt: skip
