"""The whole comparison: every analysis of the same predictions, in the order of the report.

    report = build_report(ComparisonInputs(truth, {"mask_rcnn": place(truth, boxes)}))

To add a section write `analysis(evaluated) -> Section | None` in `localization/analyses/` and enter
it in `ANALYSES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cxrloc.localization.analyses.average_precision import average_precision
from cxrloc.localization.analyses.chexlocalize.section import chexlocalize
from cxrloc.localization.analyses.end_to_end.section import end_to_end
from cxrloc.localization.analyses.gallery.pictures import gallery
from cxrloc.localization.analyses.ladder.ladder import ladder
from cxrloc.localization.analyses.leakage import LocalizerAudit, audits, leakage, leakage_stamp
from cxrloc.localization.analyses.means import accuracy, means, paired
from cxrloc.localization.analyses.shortcut.section import shortcut
from cxrloc.localization.analyses.strata.section import strata
from cxrloc.localization.analyses.synonyms import synonyms
from cxrloc.localization.analyses.taxonomy.section import taxonomy
from cxrloc.localization.analyses.taxonomy.taxonomy import taxonomies
from cxrloc.localization.comparison_report.answer import conclusion
from cxrloc.localization.evaluation.comparison import Comparison
from cxrloc.localization.evaluation.evaluated import ComparisonInputs, Evaluated
from cxrloc.localization.report.sections import Picture, Section

Analysis = Callable[[Evaluated], Section | None]

ANALYSES: tuple[Analysis, ...] = (
    means,
    accuracy,
    paired,
    end_to_end,
    average_precision,
    ladder,
    taxonomy,
    synonyms,
    strata,
    chexlocalize,
    shortcut,
    leakage,
)


@dataclass(frozen=True)
class ComparisonReport:
    """What came out. `stamp` is empty, or `LEAKED: ...`, which must stand on every table."""

    comparison: Comparison
    sections: tuple[Section, ...] = field(repr=False)
    audits: tuple[LocalizerAudit, ...]
    stamp: str
    answer: tuple[str, ...]
    gallery: tuple[Picture, ...] = field(repr=False)


def build_report(
    inputs: ComparisonInputs, analyses: tuple[Analysis, ...] = ANALYSES
) -> ComparisonReport:
    """Make every analysis that the inputs allow.

    Raises:
        ValueError: as the analyses, for a gate or a localizer that does not fit the ground truth.
    """
    evaluated = Evaluated(inputs)
    sections = tuple(analyse(evaluated) for analyse in analyses)
    return ComparisonReport(
        comparison=evaluated.comparison,
        sections=tuple(section for section in sections if section is not None),
        audits=evaluated.once(audits),
        stamp=leakage_stamp(evaluated.once(audits)),
        answer=conclusion(evaluated.comparison, evaluated.once(taxonomies)),
        gallery=gallery(evaluated),
    )
