"""The shortcut check as a section: shares of CAM mass beside the shares of area, per disease."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cxrloc.localization.plots import COLOURS
from cxrloc.localization.sections import NamedFigure, Section
from cxrloc.localization.shortcut import REGIONS, ShortcutShares, shared_pairs
from cxrloc.localization.statistics import DiseaseEstimates, Estimate
from cxrloc.localization.tables import MACRO, ResultTable, TableRow, disease_cells
from cxrloc.localization.words import RESEARCH_USE

MASS, AREA, EXCESS = "CAM mass", "area (control)", "CAM mass minus area"
_TITLE = "Shortcut check: does the network look at markers, or beside the body?"
_SHAPES = "osD^vP*"
_QUESTION = (
    "Burnt-in letters and the air beside the patient hold no disease, but they can give away where "
    "and how a film was taken. For each heat map: which share of its mass lies there? The control "
    "is the share of the film's area that lies there: a map that is the same everywhere has that "
    "much. A share well over the control says that the network looks there; one under it does not "
    "prove that it makes no use of it."
)


def shortcut_section(shares: Mapping[str, ShortcutShares], *, resamples: int, seed: int) -> Section:
    """Shares of every localizer that has maps, and how later ones differ from the first.

    Args:
        shares: name -> what `shortcut_shares` measured; not empty.
        resamples: of patients, for the intervals.
        seed: of these.
    """
    draws = {"resamples": resamples, "seed": seed}
    figures = {name: _figures(one, **draws) for name, one in shares.items()}
    rows = [row for name in shares for row in _rows(name, shares[name], figures[name])]
    first, *others = shares
    for name in others:
        rows += _difference_rows(name, shares[name], first, shares[first], **draws)
    rows.sort(key=lambda row: REGIONS.index(row.block))  # stable: the order within stays
    table = ResultTable("shortcut", _TITLE, tuple(rows), _notes(shares, resamples, seed))
    found = tuple(_sentences(name, figures[name]) for name in shares)
    alt = (
        "Dots with intervals, one line for each disease, one colour and marker for each localizer; "
        f"grey bars: share of the area. {' '.join(found)} All figures are in the table shortcut."
    )
    chart = NamedFigure("shortcut", _TITLE, alt, _chart(shares, figures))
    return Section("shortcut", _TITLE, (_QUESTION, *found), (table,), (chart,))


Figures = dict[tuple[str, str], DiseaseEstimates]


def _figures(one: ShortcutShares, *, resamples: int, seed: int) -> Figures:
    """(region, measure) -> its estimates."""
    columns = np.concatenate([one.mass, one.area, one.mass - one.area], axis=1)
    found = one.bootstrap(resamples=resamples, seed=seed).estimates(columns)
    keys = [(region, measure) for measure in (MASS, AREA, EXCESS) for region in REGIONS]
    return dict(zip(keys, found, strict=True))


def _rows(name: str, one: ShortcutShares, figures: Figures) -> Iterator[TableRow]:
    for region in REGIONS:
        for measure in (MASS, AREA, EXCESS):
            yield _row(name, one, region, measure, figures[region, measure])


def _row(
    name: str, one: ShortcutShares, region: str, measure: str, figures: DiseaseEstimates
) -> TableRow:
    counts: dict[str, str | int] = {
        "maps": len(one.pairs),
        "maps of marked films": int(one.marked.sum()),
        "patients": len(set(one.patient_ids)),
    }
    lead: dict[str, str | float] = {"region": region, "share": measure, "localizer": name}
    return TableRow(region, lead, disease_cells(one.diseases, figures), counts)


def _difference_rows(
    name: str,
    one: ShortcutShares,
    first_name: str,
    first: ShortcutShares,
    *,
    resamples: int,
    seed: int,
) -> Iterator[TableRow]:
    """Mass of `one` minus that of the first, on the maps that both have."""
    pairs = shared_pairs([one, first])
    if not pairs:
        return
    mine, theirs = one.select(pairs), first.select(pairs)
    bootstrap = mine.bootstrap(resamples=resamples, seed=seed)
    found = bootstrap.estimates(mine.mass - theirs.mass)
    for region, figures in zip(REGIONS, found, strict=True):
        yield _row(f"{name} minus {first_name}", mine, region, MASS, figures)


def _notes(shares: Mapping[str, ShortcutShares], resamples: int, seed: int) -> tuple[str, ...]:
    left_out = ", ".join(
        f"{name} {one.empty} that show nothing, {one.unread} of films that could not be read"
        for name, one in shares.items()
    )
    return (
        "Mass of a map: what is over its least value in the film. Markers are found by classical "
        "image processing (`cxrloc.datasets.markers`): it misses some and takes some wires and "
        "clips for letters. The body is what is not dark border (`cxrloc.datasets.body_mask`)",
        "Regions are those of the film as it is, also where markers were removed before the "
        "network saw it. A marker beside the body counts as marker alone",
        f"Maps left out: {left_out}",
        f"[low, high]: 95 % interval, {resamples} resamples of patients (seed {seed})",
        "A map of a few cells is coarse: heat of a neighbouring cell spreads over a letter",
    )


def _sentences(name: str, figures: Figures) -> str:
    parts = []
    for region in REGIONS:
        mass, area = (figures[region, measure].macro.value for measure in (MASS, AREA))
        excess = figures[region, EXCESS].macro
        parts.append(
            f"{100 * mass:.2f} % of the mass on {100 * area:.2f} % of the area is {_where(region)} "
            f"({_verdict(excess)})"
        )
    return f"{name}, macro mean over diseases: {'; '.join(parts)}."


def _where(region: str) -> str:
    return "on markers" if region == REGIONS[0] else region


def _verdict(excess: Estimate) -> str:
    if math.isnan(excess.low):
        return "too few patients for an interval"
    if not excess.excludes_zero:
        return "no more and no less than a map that is the same everywhere, as far as can be told"
    return "more than the control" if excess.value > 0 else "less than the control"


def _chart(shares: Mapping[str, ShortcutShares], figures: Mapping[str, Figures]) -> Figure:
    names = sorted({disease for one in shares.values() for disease in one.diseases})
    lines = [*names, MACRO]
    height = (0.16 * len(shares) + 0.2) * len(lines) + 1.8
    figure = Figure(figsize=(9.5, height), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(REGIONS), sharey=True, squeeze=False)[0].tolist()
    for axis, region in zip(panels, REGIONS, strict=True):
        _panel(axis, region, lines)
        for i, name in enumerate(shares):
            own = disease_lines(shares[name], lines)
            at = (i + 0.5) / len(shares)
            _series(axis, own, at, figures[name], region, name, i, len(shares))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False,
        fontsize=9, title_fontsize=9, title=f"lines: 95 % interval.  {RESEARCH_USE}.",
    )  # fmt: skip
    return figure


def disease_lines(one: ShortcutShares, lines: Sequence[str]) -> list[int]:
    """Line of each of a localizer's diseases, then that of the macro mean."""
    return [lines.index(name) for name in (*one.diseases, MACRO)]


def _panel(axis: Axes, region: str, lines: Sequence[str]) -> None:
    axis.set_title(f"share {_where(region)}", fontsize=10.5)
    axis.set_yticks([i + 0.5 for i in range(len(lines))], lines, fontsize=9)
    axis.set_ylim(len(lines), 0)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    for i in range(1, len(lines)):
        axis.axhline(i, color="#bbbbbb", linewidth=0.5)


def _series(
    axis: Axes,
    own: Sequence[int],
    at: float,
    figures: Figures,
    region: str,
    name: str,
    i: int,
    count: int,
) -> None:
    heights = [line + at for line in own]
    areas = [estimate.value for estimate in figures[region, AREA].columns]
    label = "area (control)" if i == 0 else None
    axis.barh(heights, areas, height=0.8 / count, color="#dcdcdc", zorder=1, label=label)
    colour, shape = COLOURS[i % len(COLOURS)], _SHAPES[i % len(_SHAPES)]
    estimates = figures[region, MASS].columns
    for height, estimate in zip(heights, estimates, strict=True):
        axis.plot([estimate.low, estimate.high], [height, height], color=colour, linewidth=1.4)
    values = [estimate.value for estimate in estimates]
    axis.plot(values, heights, shape, color=colour, markersize=5, label=name)
    axis.set_xlim(left=0)
