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


def ledger_text(ledgers: Sequence[Ledger]) -> str:
    """Where the boxes went; empty without a ledger."""
    main = [ledger for ledger in ledgers if ledger.threshold == MAIN]
    if not main:
        return ""
    total = int(main[0].counts.sum())
    stopped = main[0].count(GATE_HIT) + main[0].count(GATE_MISS)
    opening = f"Of {total:,} ground-truth boxes the gate lets {total - stopped:,} pass. "
    return opening + " ".join(map(_ledger_sentence, main))


def _ledger_sentence(ledger: Ledger) -> str:
    hit, gate_hit, gate_miss, wrong, none = (_text(ledger.share(c)) for c in CHARGES)
    return (
        f"{ledger.localizer} hits {hit} of them (IoU > {MAIN:g}); the gate costs it {gate_hit} "
        f"that it would have hit and stops {gate_miss} that it would have missed too; past the "
        f"gate {wrong} are lost in the wrong place and {none} for want of a box."
    )


def point_text(points: Sequence[OperatingPoint]) -> str:
    """Sensitivity and false boxes on all films: end to end, or with every disease asked."""
    main = [point for point in points if point.threshold == MAIN]
    gated = [point for point in main if point.setting == END_TO_END]
    return " ".join(map(_point_sentence, gated or [p for p in main if p.setting == EVERY_DISEASE]))


def _point_sentence(point: OperatingPoint) -> str:
    clear = point.false_boxes(NO_FINDING)
    text = (
        f"{point.localizer}, {point.setting}, on {point.films:,} films: {point.hits:,} of "
        f"{point.boxes:,} boxes hit, localized sensitivity {_text(point.sensitivity)}; "
        f"{_text(point.false_boxes().per_film)} false boxes per film "
        f"({_text(point.false_boxes(bound=COUNTED).per_film)} if unboxed positives count)"
    )
    if clear.films:
        text += f", {_text(clear.per_film)} on the {clear.films:,} films with no finding"
    return f"{text}."


def froc_text(curves: Sequence[Froc]) -> str:
    """Sensitivity at 1 false box per film and the mean of the points; empty without curves."""
    main = [c for c in curves if c.threshold == MAIN and c.bound == IGNORED]
    if not main:
        return ""
    figures = "; ".join(
        f"{c.localizer}, {c.setting}: {_text(c.at_points[_ONE])}, mean {_text(c.mean)}"
        for c in main
    )
    points = ", ".join(f"{x:g}" for x in POINTS)
    return (
        f"FROC: localized sensitivity (IoU > {MAIN:g}) with at most 1 false box per film, and its "
        f"mean over {points}: {figures}."
    )


def _text(estimate: Estimate) -> str:
    return cell_text(Cell(estimate))
