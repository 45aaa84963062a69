"""The sentences of the section `end_to_end`, made from its figures."""

from __future__ import annotations

from collections.abc import Sequence

from cxrloc.localization.false_boxes import COUNTED, IGNORED, NO_FINDING, OperatingPoint
from cxrloc.localization.froc import POINTS, Froc
from cxrloc.localization.gate_ledger import CHARGES, GATE_HIT, GATE_MISS, Ledger
from cxrloc.localization.marks import END_TO_END, EVERY_DISEASE
from cxrloc.localization.statistics import Estimate
from cxrloc.localization.table_files import cell_text
from cxrloc.localization.tables import Cell

MAIN = 0.5  # the hit threshold that sentences are about; the tables have the others
_ONE = POINTS.index(1.0)


def asked(gate: bool) -> str:
    """What is asked and how it is measured."""
    text = (
        "How good are the boxes when nobody tells the localizer the disease, and how many are "
        "false on films that do not have it? A box on an absent disease is false; on a boxed "
        "disease it is a hit or false; on a disease that is labelled but not boxed it is neither "
        "(ignored). The tables also show the other bound, which counts the last as false."
    )
    return text if gate else f"{text} No gate was given: only what needs none is shown."


def gate_text(ledgers: Sequence[Ledger]) -> str:
    """How many boxes the gate lets pass; empty without a ledger."""
    main = [ledger for ledger in ledgers if ledger.threshold == MAIN]
    if not main:
        return ""
    total = int(main[0].counts.sum())
    stopped = main[0].count(GATE_HIT) + main[0].count(GATE_MISS)
    return (
        f"Of {total:,} ground-truth boxes the gate lets {total - stopped:,} pass. Below, a hit is "
        f"IoU > {MAIN:g}; the tables have other thresholds."
    )


def localizer_text(
    name: str,
    ledgers: Sequence[Ledger],
    points: Sequence[OperatingPoint],
    curves: Sequence[Froc],
) -> str:
    """One localizer's figures in a paragraph; empty where there are none."""
    ledger = [x for x in ledgers if (x.localizer, x.threshold) == (name, MAIN)]
    mine = [p for p in points if (p.localizer, p.threshold) == (name, MAIN)]
    ends = [p for p in mine if p.setting == END_TO_END]
    ends = ends or [p for p in mine if p.setting == EVERY_DISEASE]
    curve = [c for c in curves if (c.localizer, c.threshold, c.bound) == (name, MAIN, IGNORED)]
    parts = [*map(_ledger_part, ledger), *map(_point_part, ends), *map(_froc_part, curve[:1])]
    return f"{name}: {'; '.join(parts)}." if parts else ""


def _ledger_part(ledger: Ledger) -> str:
    shares = (100 * ledger.share(charge).value for charge in CHARGES)
    hit, gate_hit, gate_miss, wrong, none = (f"{share:.1f} %" for share in shares)
    return (
        f"{hit} of the boxes are hit, {gate_hit} are lost at the gate that it would have hit, "
        f"{gate_miss} at the gate that it would have missed too, {wrong} by a wrong place, "
        f"{none} for want of a box"
    )


def _point_part(point: OperatingPoint) -> str:
    clear = point.false_boxes(NO_FINDING)
    text = (
        f"{point.setting}, on {point.films:,} films, {point.hits:,} of {point.boxes:,} boxes hit "
        f"(localized sensitivity {_text(point.sensitivity)}) with "
        f"{_text(point.false_boxes().per_film)} false boxes per film "
        f"({_text(point.false_boxes(bound=COUNTED).per_film)} if unboxed positives count)"
    )
    if clear.films:
        text += f" and {_text(clear.per_film)} on the {clear.films:,} films with no finding"
    return text


def _froc_part(curve: Froc) -> str:
    return (
        f"FROC, {curve.setting}: sensitivity {_text(curve.at_points[_ONE])} with at most 1 false "
        f"box per film, mean of the five points {_text(curve.mean)}"
    )


def _text(estimate: Estimate) -> str:
    return cell_text(Cell(estimate))
