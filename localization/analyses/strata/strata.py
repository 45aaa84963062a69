"""Scores by stratum: view, sex, age, box area, number of diseases (table: `section.py`).

A localizer's figure in a stratum says little alone, since strata differ in difficulty. Next to it
is the paired difference from a control, which faces the same difficulty without seeing the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from cxrloc.classification.metrics.bootstrap import ClusterBootstrap, Estimate, IndexArray
from cxrloc.localization.boxes import box_areas
from cxrloc.localization.evaluation.box_scores import Measure
from cxrloc.localization.evaluation.comparison import Comparison, ScoredLocalizer
from cxrloc.localization.evaluation.ground_truth import (
    ABSENT,
    BoolArray,
    FloatArray,
    GroundTruth,
    ImageTable,
)

REFERENCES = ("constant_box", "prior_box")  # uses the first in the comparison
FEWEST_PATIENTS = 10
UNKNOWN = "unknown"
AGE_BANDS = ((40, "age under 40"), (60, "age 40 to 59"), (np.inf, "age 60 and over"))
QUARTERS = ("box area Q1 (smallest)", "box area Q2", "box area Q3", "box area Q4 (largest)")


@dataclass(frozen=True)
class Stratum:
    """Ground-truth boxes with something in common.

    Attributes:
        kind: attribute to split by, for example `view`.
        name: for example `view AP`; unique across kinds.
        members: (N,) in the order of the ground truth's boxes.
    """

    kind: str
    name: str
    members: BoolArray = field(repr=False)


@dataclass(frozen=True)
class StratumScore:
    """One localizer in one stratum: macro means over the diseases with a box there.

    Attributes:
        figures: measure -> figure, for `mean_iou` and `acc_iou@T`.
        over_reference: same, minus the reference control; None without one and for itself.
    """

    stratum: Stratum
    localizer: ScoredLocalizer
    figures: dict[str, Estimate]
    over_reference: dict[str, Estimate] | None


def strata_of(truth: GroundTruth) -> tuple[Stratum, ...]:
    """All strata with a box; leaves out a kind that is unknown for every image."""
    images, rows = truth.images, truth.image_of_box.tolist()
    names: dict[str, list[str]] = {
        "view": [f"view {images.views[row] or UNKNOWN}" for row in rows],
        "sex": [f"sex {images.sexes[row] or UNKNOWN}" for row in rows],
        "age": [_age_band(float(images.ages_years[row])) for row in rows],
        "box area": [QUARTERS[quarter] for quarter in area_quarters(truth)],
        "diseases on the image": [_diseases_on(images, row) for row in rows],
    }
    return tuple(
        Stratum(kind, name, np.array([of_this == name for of_this in of_box], dtype=np.bool_))
        for kind, of_box in names.items()
        if set(of_box) != {f"{kind} {UNKNOWN}"}
        for name in sorted(set(of_box), key=_reading_order)
    )


def _age_band(years: float) -> str:
    return next((name for limit, name in AGE_BANDS if years < limit), f"age {UNKNOWN}")  # or NaN


def _diseases_on(images: ImageTable, row: int) -> str:
    of_truth = {d for d, s in zip(images.diseases, images.status[row], strict=True) if s != ABSENT}
    several = len(of_truth.union(images.labels[row] or ())) > 1
    return "several diseases" if several else "one disease"


def _reading_order(name: str) -> tuple[int, str]:
    """Order by age band, then alphabetically, with unknown last."""
    bands = [band for _, band in AGE_BANDS]
    if name.endswith(UNKNOWN):
        return len(bands), name
    return bands.index(name) if name in bands else 0, name


def area_quarters(truth: GroundTruth) -> IndexArray:
    """Quarter 0 to 3 of each box's area among the boxes of ITS disease, (N,); 0 is the smallest.

    Area is the share of the image. Equal areas are in the same quarter. Quarters are within the
    disease because area and disease are confounded: overall, Q1 would be nodules, Q4 large hearts.
    """
    shares = box_areas(truth.boxes_xyxy) / truth.sizes_hw.astype(np.float64).prod(axis=1)
    quarters = np.zeros(len(truth), dtype=np.intp)
    for disease in range(len(truth.disease_names)):
        of_disease = truth.disease_index == disease
        limits = np.quantile(shares[of_disease], [0.25, 0.5, 0.75])
        quarters[of_disease] = np.searchsorted(limits, shares[of_disease], side="left")
    return quarters


def reference_of(comparison: Comparison) -> ScoredLocalizer | None:
    """Control to compare every stratum with: the first of `REFERENCES`, or None."""
    controls = {row.name: row for row in comparison.localizers if row.is_control}
    return next((controls[name] for name in REFERENCES if name in controls), None)


def score_strata(
    comparison: Comparison, strata: Sequence[Stratum], threshold: float = 0.5
) -> list[StratumScore]:
    """Score every localizer of the comparison in every stratum, stratum by stratum.

    Resamples the patients of the stratum; with fewer than `FEWEST_PATIENTS` there is no interval.
    """
    return [score for s in strata for score in _scores(comparison, s, threshold)]


def _scores(comparison: Comparison, stratum: Stratum, threshold: float) -> list[StratumScore]:
    rows, reference = comparison.localizers, reference_of(comparison)
    iou = np.column_stack([row.scores.iou[stratum.members] for row in rows])
    hits = (iou > threshold).astype(np.float64)
    values = [iou, hits]
    if reference is not None:
        base = [row is reference for row in rows]
        values += [iou - iou[:, base], hits - hits[:, base]]
    macros = _macros(comparison, stratum, np.hstack(values))
    measures = [Measure("iou", t).key for t in (None, threshold)]
    scores = []
    for i, row in enumerate(rows):
        of_row = macros[i :: len(rows)]  # mean IoU, hits, and the differences of both
        difference = dict(zip(measures, of_row[2:], strict=True)) if of_row[2:] else None
        scores.append(
            StratumScore(
                stratum,
                row,
                dict(zip(measures, of_row[:2], strict=True)),
                None if row is reference else difference,
            )
        )
    return scores


def _macros(comparison: Comparison, stratum: Stratum, values: FloatArray) -> list[Estimate]:
    """Macro mean of each column of `values` (n, M) over the diseases in the stratum."""
    truth, members = comparison.truth, np.flatnonzero(stratum.members)
    patients = [truth.patient_ids[i] for i in members]
    held, disease_of = np.unique(truth.disease_index[members], return_inverse=True)
    macros = ClusterBootstrap.macros_once(
        patients,
        disease_of,
        len(held),
        values,
        resamples=comparison.resamples,
        seed=comparison.seed,
    )
    if len(set(patients)) >= FEWEST_PATIENTS:
        return macros
    return [Estimate(macro.value, np.nan, np.nan) for macro in macros]
