"""Report the shortcut check: shares of CAM mass and of area, per disease."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from cxrloc.classification.metrics.bootstrap import DiseaseEstimates, Estimate
from cxrloc.classification.report.tables import ResultTable, TableRow
from cxrloc.localization.analyses.shortcut.shortcut import (
    AREA,
    EXCESS,
    MASS,
    REGIONS,
    Figures,
    ImageRegions,
    ShortcutShares,
    read_regions,
    shared_pairs,
    shortcut_shares,
)
from cxrloc.localization.analyses.shortcut.shortcut_plot import shortcut_chart, where
from cxrloc.localization.cam.heat_maps import HeatMaps
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.report.comparison_tables import disease_cells
from cxrloc.localization.report.sections import NamedFigure, Section

_TITLE = "Shortcut check: does the network look at markers, or outside the body?"
_QUESTION = (
    "Burned-in letters and the air around the patient show no disease, but they can reveal where "
    "and how an image was taken. How much of each heat map's mass lies there? The control is the "
    "share of the image's area there, which is the share of a uniform map. A share well above the "
    "control means that the network looks there; one below does not prove that it ignores the "
    "place."
)
_WITHOUT = (
    "The second maps show the same images after removing their letters, measured in the same "
    "regions. If a letter itself drew the heat, the share on markers falls. If it stays, the heat "
    "did not come from the letter: the network looks at that place anyway, or its map is coarse. A "
    "map that no longer shows anything has no share; such maps are counted."
)
_NOT_MEASURED = "Nothing could be measured: no map of a readable image shows heat."
Draws = dict[str, int]


def shortcut(evaluated: Evaluated) -> Section | None:
    """Where the heat maps look; None without maps of readable images."""
    maps = evaluated.inputs.maps
    mapped = [image for heat_maps in maps.values() for image, _ in heat_maps.pairs]
    regions = read_regions(evaluated.inputs.image_paths, mapped)
    if not regions:
        return None
    return shortcut_check(maps, regions, evaluated.images.patient_of, **evaluated.draws)


def shortcut_check(
    maps: Mapping[str, HeatMaps],
    regions: Mapping[str, ImageRegions],
    patient_of: Mapping[str, str],
    *,
    resamples: int,
    seed: int,
) -> Section:
    """Measure every localizer's maps, and its maps of images without markers if there are any.

    Args:
        maps: localizer -> its maps.
        regions: result of `read_regions`.
        patient_of: image_id -> patient.
        resamples: resamples of patients for the intervals.
        seed: seed of the resamples.

    Returns:
        The section, without a table if no map can be measured; it states the reasons.
    """
    measured = {
        name: _measured(name, heat_maps, regions, patient_of) for name, heat_maps in maps.items()
    }
    shares = {n: shown for both in measured.values() for n, shown in both.items() if shown.pairs}
    removed = any(len(both) > 1 for both in measured.values())
    asked = f"{_QUESTION} {_WITHOUT}" if removed else _QUESTION
    remarks = [remark for name, both in measured.items() for remark in _remarks(name, both)]
    if not shares:
        return Section("shortcut", _TITLE, _NOT_MEASURED, (asked, *remarks))
    section = shortcut_section(shares, _minus(measured, shares), resamples=resamples, seed=seed)
    return replace(section, paragraphs=(asked, *section.paragraphs, *remarks))


def _measured(
    name: str,
    maps: HeatMaps,
    regions: Mapping[str, ImageRegions],
    patient_of: Mapping[str, str],
) -> dict[str, ShortcutShares]:
    """The shares of a localizer and of its maps of images without markers."""
    heat_maps = replace(maps, name=name)
    both = [heat_maps, *([heat_maps.without_markers] if heat_maps.without_markers else [])]
    return {each.name: shortcut_shares(each, regions, patient_of) for each in both}


def _minus(
    measured: Mapping[str, Mapping[str, ShortcutShares]], shares: Collection[str]
) -> dict[str, str]:
    """Name -> its partner in the comparison: the first localizer, or the unchanged image."""
    first = next((name for name in measured if name in shares), "")
    pairs = [(name, first) for name in measured if name != first]
    pairs += [(without, name) for name, both in measured.items() for without in list(both)[1:]]
    return {name: other for name, other in pairs if name in shares and other in shares}


def _remarks(name: str, both: Mapping[str, ShortcutShares]) -> Iterator[str]:
    """Gaps in the shares: maps left out, and maps that no longer show anything."""
    plain, *others = both.values()
    if plain.unread:
        whole = len(plain.pairs) + plain.empty + plain.unread
        yield (
            f"{plain.unread} of the {whole} maps of {name} are left out: their images are missing "
            "or unreadable."
        )
    for without in others if plain.pairs else ():
        yield (
            f"{len(set(plain.pairs) - set(without.pairs))} of the {len(plain.pairs)} maps of "
            f"{name} that show something show nothing without the letters."
        )
    for measured, shares in both.items():
        if not shares.pairs:
            yield f"{measured} cannot be measured: no map of a readable image shows heat."


def shortcut_section(
    shares: Mapping[str, ShortcutShares], minus: Mapping[str, str], *, resamples: int, seed: int
) -> Section:
    """Table, figure and sentences for each localizer and each difference.

    Args:
        shares: name -> result of `shortcut_shares`; not empty.
        minus: name -> name to subtract, on the maps that both have.
        resamples: resamples of patients for the intervals.
        seed: seed of the resamples.
    """
    draws = {"resamples": resamples, "seed": seed}
    figures = {name: _figures(measured, **draws) for name, measured in shares.items()}
    rows = [row for name in shares for row in _rows(name, shares[name], figures[name])]
    sentences = [_sentences(name, figures[name]) for name in shares]
    for name, other in minus.items():
        first, second = _paired(shares[name], shares[other])
        if first.pairs:
            difference = _difference(first, second, draws)
            rows += [
                _row(f"{name} minus {other}", first, region, MASS, difference[region])
                for region in REGIONS
            ]
            sentences.append(_difference_sentence(name, other, first.diseases, difference))
    rows.sort(key=lambda row: REGIONS.index(row.block))  # stable: the order within stays
    table = ResultTable("shortcut", _TITLE, tuple(rows), _notes(shares, resamples, seed))
    alt = (
        "Dots with intervals, one line per disease, one colour and marker per localizer; grey "
        f"bars: share of the area. {' '.join(sentences)} "
        "All figures are in the table shortcut."
    )
    chart = NamedFigure("shortcut", _TITLE, alt, shortcut_chart(shares, figures))
    finding = f"{'; '.join(_in_short(name, figures[name]) for name in shares)}."
    return Section("shortcut", _TITLE, finding, tuple(sentences), (table,), (chart,))


def _in_short(name: str, figures: Figures) -> str:
    parts = []
    for region in REGIONS:
        mass, area = (figures[region, measure].macro.value for measure in (MASS, AREA))
        parts.append(f"{mass:.1f} % of the heat and {area:.1f} % of the area {where(region)}")
    return f"{name}: {', '.join(parts)}"


def _figures(shares: ShortcutShares, *, resamples: int, seed: int) -> Figures:
    """(region, measure) -> its estimates, in percent."""
    columns = 100 * np.concatenate([shares.mass, shares.area, shares.mass - shares.area], axis=1)
    estimates = shares.bootstrap(resamples=resamples, seed=seed).estimates(columns)
    keys = [(region, measure) for measure in (MASS, AREA, EXCESS) for region in REGIONS]
    return dict(zip(keys, estimates, strict=True))


def _rows(name: str, shares: ShortcutShares, figures: Figures) -> Iterator[TableRow]:
    for region in REGIONS:
        for measure in (MASS, AREA, EXCESS):
            yield _row(name, shares, region, measure, figures[region, measure])


def _row(
    name: str, shares: ShortcutShares, region: str, measure: str, figures: DiseaseEstimates
) -> TableRow:
    counts: dict[str, str | int] = {
        "maps": len(shares.pairs),
        "maps of marked images": int(shares.marked.sum()),
        "patients": len(set(shares.patient_ids)),
    }
    lead: dict[str, str | float] = {"region": region, "share of": measure, "localizer": name}
    return TableRow(region, lead, disease_cells(shares.diseases, figures), counts)


def _paired(first: ShortcutShares, second: ShortcutShares) -> tuple[ShortcutShares, ShortcutShares]:
    """Restrict both to their shared maps, in the same order."""
    pairs = shared_pairs([first, second])
    return first.select(pairs), second.select(pairs)


def _difference(
    first: ShortcutShares, second: ShortcutShares, draws: Draws
) -> dict[str, DiseaseEstimates]:
    """Region -> difference of mass in percentage points, patients resampled."""
    estimates = first.bootstrap(**draws).estimates(100 * (first.mass - second.mass))
    return dict(zip(REGIONS, estimates, strict=True))


def _notes(shares: Mapping[str, ShortcutShares], resamples: int, seed: int) -> tuple[str, ...]:
    left_out = ", ".join(
        f"{name} {measured.empty} that show nothing, {measured.unread} of unreadable images"
        for name, measured in shares.items()
    )
    return (
        "Mass of a map: the part above its minimum in the image. Markers are found by classical "
        "image processing (`cxrloc.datasets.images.markers`): it misses some and mistakes some "
        "wires and clips for letters. The body is everything except the dark border "
        "(`cxrloc.datasets.images.body_mask`)",
        "Regions refer to the unchanged image, even if markers were removed before the network saw "
        "it. A marker outside the body counts only as marker",
        f"Maps left out: {left_out}",
        f"[low, high]: 95 % interval, {resamples} resamples of patients (seed {seed})",
        "A map with few cells is coarse: heat of a neighbouring cell spreads over a letter",
    )


def _sentences(name: str, figures: Figures) -> str:
    parts = []
    for region in REGIONS:
        mass, area = (figures[region, measure].macro.value for measure in (MASS, AREA))
        excess = figures[region, EXCESS].macro
        parts.append(
            f"{mass:.2f} % of the mass on {area:.2f} % of the area is {where(region)} "
            f"({_verdict(excess)})"
        )
    return f"{name}, macro mean over diseases: {'; '.join(parts)}."


def _difference_sentence(
    name: str, other: str, diseases: Sequence[str], difference: Mapping[str, DiseaseEstimates]
) -> str:
    parts = [f"{_points(difference[region].macro)} {where(region)}" for region in REGIONS]
    sentence = f"{name} minus {other}, percentage points of the mass: {'; '.join(parts)}."
    apart = [
        f"{disease} {_points(estimate)} {where(region)}"
        for region in REGIONS
        for disease, estimate in zip(diseases, difference[region].per_disease, strict=True)
        if estimate.excludes_zero
    ]
    if not apart or len(diseases) < 2:
        return sentence
    return (
        f"{sentence} Diseases whose own interval excludes zero, not corrected for "
        f"{len(diseases)} comparisons: {', '.join(apart)}."
    )


def _points(estimate: Estimate) -> str:
    value, low, high = (
        f"{round(v, 3) + 0.0:+.3f}" for v in (estimate.value, estimate.low, estimate.high)
    )  # + 0.0: no "-0.000"
    return f"{value} [{low}, {high}]"


def _verdict(excess: Estimate) -> str:
    if math.isnan(excess.low):
        return "too few patients for an interval"
    if not excess.excludes_zero:
        return "not distinguishable from a uniform map"
    return "more than the control" if excess.value > 0 else "less than the control"
