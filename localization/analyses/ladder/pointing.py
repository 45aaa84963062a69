"""The pointing game: does the peak of a heat map lie in the box? (Zhang et al. 2018.)

It asks less than a box does: where, not how large. So it is what heat maps without any box rule are
compared by, and it can be read beside published figures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from cxrloc.classification.metrics.bootstrap import (
    MACRO_MEAN,
    ClusterBootstrap,
    DiseaseEstimates,
    Estimate,
)
from cxrloc.classification.report.tables import (
    Cell,
    ResultTable,
    TableRow,
    Value,
    estimate_text,
    value_text,
)
from cxrloc.datasets.labels.names import NIH_BOXED_DISEASES
from cxrloc.localization.analyses.ladder.points import Hits, Pairs
from cxrloc.localization.evaluation.controls import CenterBox, RandomMap, random_map
from cxrloc.localization.evaluation.detections import CONTROL, DISEASE_GIVEN
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.evaluation.pairwise import REFERENCE_CONTROL
from cxrloc.localization.report.comparison_tables import PUBLISHED, disease_cells
from cxrloc.localization.report.sections import Section

TOLERANCES_PX = (0, 15)
PEAK, CENTRE, IMAGE_CENTRE = "peak of the map", "centre of its best box", "centre of the image"
ANY_POINT = "any point of the image"
ALL_PAIRS, OVER = "all pairs", f"macro minus {REFERENCE_CONTROL}"
_TITLE = "Pointing game: does the peak of the map lie in the box?"


class _Published(NamedTuple):
    name: str
    values: dict[str, float]
    all_pairs: float
    source: str


_PYLON = "Preechakul et al. 2020, arXiv 2010.11475"
_SEEDS = (0.511, 0.996, 0.539, 0.704, 0.673, 0.466, 0.735, 0.182)
_FIGURES = (
    _Published("PYLON", {}, 0.62, f"{_PYLON}, abstract: the average"),
    _Published("CAM", {}, 0.45, f"{_PYLON}, abstract: the average"),
    _Published(
        "PYLON, repository",
        dict(zip(NIH_BOXED_DISEASES, _SEEDS, strict=True)),
        0.616,
        "cmb-chula/pylon, README: mean of its five seeds, which are not the paper's",
    ),
)


@dataclass(frozen=True)
class _Pointer:
    """One localizer or control, and where it points.

    Attributes:
        point: what it points with.
    """

    name: str
    point: str
    hits: Hits = field(repr=False)
    is_control: bool = False


def pointing(evaluated: Evaluated) -> Section | None:
    """Hits of every localizer's points and of the controls', beside published figures.

    A localizer with heat maps points with each map's peak, every localizer with the centre of its
    best box. None without a localizer.
    """
    if not evaluated.inputs.predictions:
        return None
    pairs = Pairs.of(evaluated.truth)
    pointers = [*_localizers(evaluated, pairs), *_controls(evaluated, pairs)]
    figures = _estimated(evaluated, pairs, pointers)
    table = ResultTable(
        "pointing",
        _TITLE,
        tuple(_rows(evaluated, pairs, pointers, figures)),
        _notes(evaluated, pairs),
    )
    sentences = tuple(_sentences(pointers, figures))
    return Section("pointing", _TITLE, _finding(pointers, figures), (_ASKED, *sentences), (table,))


_ASKED = (
    "The pointing game asks of a heat map only where, not how large: a map scores if its peak, the "
    "hottest pixel in the image's frame, lies in a ground-truth box of the disease (Zhang et al., "
    "Top-down Neural Attention by Excitation Backprop, IJCV 2018). Localizers without maps point "
    "with the centre of their highest-scored box, which is another thing: it is listed for those "
    "with maps too. The disease is given. One point per image and disease, so large boxes are easy "
    "and small ones hard: read each disease beside the controls, which never look."
)


def _localizers(evaluated: Evaluated, pairs: Pairs) -> Iterator[_Pointer]:
    for name, maps in evaluated.inputs.maps.items():
        hits = pairs.hits_of_cells(maps.cells, TOLERANCES_PX, aligned=maps.aligned)
        yield _Pointer(name, PEAK, hits)
    for name, detections in evaluated.inputs.predictions.items():
        centres = pairs.centres_of_best(detections)
        yield _Pointer(name, CENTRE, pairs.hits_of_points(centres, TOLERANCES_PX))


def _controls(evaluated: Evaluated, pairs: Pairs) -> Iterator[_Pointer]:
    points = {
        (REFERENCE_CONTROL, CENTRE): pairs.centres_of_best(evaluated.controls[REFERENCE_CONTROL]),
        (CenterBox.name, IMAGE_CENTRE): pairs.image_centres,
        (RandomMap.name, PEAK): pairs.hottest_cells(partial(random_map, evaluated.inputs.seed)),
    }
    for (name, point), xy in points.items():
        yield _Pointer(name, point, pairs.hits_of_points(xy, TOLERANCES_PX), is_control=True)


@dataclass(frozen=True)
class _Figures:
    """Of one pointer at one tolerance."""

    estimates: DiseaseEstimates
    all_pairs: Estimate
    over_reference: Estimate


def _estimated(
    evaluated: Evaluated, pairs: Pairs, pointers: Sequence[_Pointer]
) -> list[list[_Figures]]:
    """[tolerance][pointer]; all pointers share the resamples of patients."""
    bootstrap = ClusterBootstrap.of(
        pairs.patient_ids,
        pairs.disease_of,
        len(evaluated.truth.disease_names),
        **evaluated.draws,
    )
    pooled = replace(bootstrap, disease_of=np.zeros_like(bootstrap.disease_of), diseases=1)
    at = next(i for i, p in enumerate(pointers) if p.is_control and p.name == REFERENCE_CONTROL)
    figures = []
    for t in range(len(TOLERANCES_PX)):
        hits = np.column_stack([pointer.hits.shares[:, t] for pointer in pointers])
        draws = bootstrap.draws(hits)
        over = bootstrap.intervals(draws - draws.select([at] * len(pointers)))
        alone, everything = bootstrap.intervals(draws), pooled.macros(hits)
        rows = zip(alone, everything, over, strict=True)
        figures.append([_Figures(own, pool, minus.macro) for own, pool, minus in rows])
    return figures


def _rows(
    evaluated: Evaluated,
    pairs: Pairs,
    pointers: Sequence[_Pointer],
    figures: Sequence[Sequence[_Figures]],
) -> Iterator[TableRow]:
    names = evaluated.truth.disease_names
    for tolerance, of_tolerance in zip(TOLERANCES_PX, figures, strict=True):
        within = f"at most {tolerance} px away from it" if tolerance else "in the box"
        for pointer, each in zip(pointers, of_tolerance, strict=True):
            is_reference = pointer.is_control and pointer.name == REFERENCE_CONTROL
            lead: dict[str, str | float] = {"tolerance px": tolerance, "localizer": pointer.name}
            lead |= {"setting": CONTROL if pointer.is_control else DISEASE_GIVEN}
            trail: dict[str, Value] = {ALL_PAIRS: Cell(each.all_pairs)}
            trail |= {OVER: "" if is_reference else Cell(each.over_reference)}
            yield TableRow(
                f"hit: {within}",
                lead | {"point": pointer.point},
                disease_cells(names, each.estimates),
                trail | {"pairs": len(pairs), "without a point": pointer.hits.pointless},
            )
        if tolerance == 0:
            yield _chance(pairs, names)
            if _comparable(evaluated):
                yield from (_published(row, names) for row in _FIGURES)


def _chance(pairs: Pairs, names: Sequence[str]) -> TableRow:
    """The mean share of the image that the boxes cover."""
    share, disease = pairs.chance, pairs.disease_of
    means = [float(share[disease == d].mean()) for d in range(len(names))]
    cells: dict[str, Value] = dict(zip(names, map(_plain, means), strict=True))
    return TableRow(
        "hit: in the box",
        {"tolerance px": 0, "localizer": ANY_POINT, "setting": CONTROL, "point": ANY_POINT},
        cells | {MACRO_MEAN: _plain(float(np.mean(means)))},
        {
            ALL_PAIRS: _plain(float(share.mean())),
            OVER: "",
            "pairs": len(pairs),
            "without a point": 0,
        },
    )


def _published(row: _Published, names: Sequence[str]) -> TableRow:
    values = {name: row.values[name] for name in names if name in row.values}
    cells: dict[str, Value] = {name: _plain(values[name]) if values else "" for name in names}
    macro = _plain(sum(values.values()) / len(values)) if values else ""
    whole = set(names) == set(NIH_BOXED_DISEASES)
    trail: dict[str, Value] = {ALL_PAIRS: _plain(row.all_pairs) if whole else "", OVER: ""}
    trail |= {"pairs": 984 if whole else "", "without a point": ""}
    return TableRow(
        "hit: in the box",
        {"tolerance px": 0, "localizer": row.name, "setting": PUBLISHED, "point": PEAK},
        cells | {MACRO_MEAN: macro},
        trail,
        note=f"{row.source}; scored on NIH's 984 boxes, not on the images of the other rows",
    )


def _plain(value: float) -> Cell:
    return Cell(Estimate(value, math.nan, math.nan), printed=f"{value:.3f}")


def _comparable(evaluated: Evaluated) -> bool:
    return evaluated.inputs.published and set(evaluated.truth.disease_names) <= set(
        NIH_BOXED_DISEASES
    )


def _notes(evaluated: Evaluated, pairs: Pairs) -> tuple[str, ...]:
    notes = [
        f"Unit: an image and disease with ground-truth boxes, {len(pairs)} pairs; a point in any "
        "of its boxes is a hit",
        "Where several pixels share the peak, the hit is the share of them in the box. A blank "
        "map, a missing map and a missing box are misses",
        "15 px: Zhang et al.'s margin, there for photographs of about 500 x 375 pixels; here "
        "pixels of the original image, which may be larger",
        f"{ANY_POINT!r}: share of the image that the boxes cover, what a point without any "
        f"knowledge hits on average. {CenterBox.name!r} is the centre of the image",
        f"[low, high]: 95 % interval, {evaluated.inputs.resamples} resamples of patients (seed "
        f"{evaluated.inputs.seed}); {OVER!r} is paired",
    ]
    if _comparable(evaluated):
        notes.append(
            "Rows marked 'published' are of heat maps of networks that were trained on NIH's "
            "official training part with image labels alone, at 256 px, and scored on all 984 "
            "boxes; other images than here. The paper prints one average, which in its authors' "
            "code is over all boxes"
        )
    return tuple(notes)


def _finding(pointers: Sequence[_Pointer], figures: Sequence[Sequence[_Figures]]) -> str:
    """Who hits how often, maps first; then the control."""
    strict = list(zip(pointers, figures[0], strict=True))
    mapped = [p.name for p in pointers if p.point == PEAK and not p.is_control]
    shown = [
        f"{p.name} {value_text(each.estimates.macro.value)}"
        for p, each in strict
        if not p.is_control and (p.point == PEAK or p.name not in mapped)
    ]
    blind = next(each for p, each in strict if p.is_control and p.name == REFERENCE_CONTROL)
    control = value_text(blind.estimates.macro.value)
    return (
        f"The point lies in the box: {', '.join(shown)}; the centre of {REFERENCE_CONTROL}, which "
        f"never sees the image, {control}."
    )


def _sentences(
    pointers: Sequence[_Pointer], figures: Sequence[Sequence[_Figures]]
) -> Iterator[str]:
    for pointer, each in zip(pointers, figures[0], strict=True):
        if not pointer.is_control:
            yield (
                f"{pointer.name}, {pointer.point}: macro mean "
                f"{estimate_text(each.estimates.macro)}; minus the centre of {REFERENCE_CONTROL} "
                f"{estimate_text(each.over_reference)}."
            )
