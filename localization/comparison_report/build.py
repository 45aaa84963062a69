"""The whole comparison: every analysis of the same predictions, in the order of the report.

    report = build_report(ComparisonInputs(truth, {"mask_rcnn": place(truth, boxes)}))

To add a section, write `analysis(evaluated) -> Section | None` in `localization/analyses/` and
enter it in `ANALYSES`. The section brings its finding, the one sentence that stays in sight while
it is folded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cxrloc.localization.analyses.average_precision import average_precision
from cxrloc.localization.analyses.chexlocalize.section import chexlocalize
from cxrloc.localization.analyses.end_to_end.operating_point import operating_point
from cxrloc.localization.analyses.end_to_end.section import end_to_end
from cxrloc.localization.analyses.end_to_end.wafroc import wafroc
from cxrloc.localization.analyses.gallery.pictures import gallery
from cxrloc.localization.analyses.ladder.ladder import ladder
from cxrloc.localization.analyses.ladder.pointing import pointing
from cxrloc.localization.analyses.leakage import (
    LocalizerAudit,
    audits,
    external_validation,
    leakage,
    leakage_stamp,
)
from cxrloc.localization.analyses.means import accuracy, means, paired
from cxrloc.localization.analyses.second_reader.section import second_reader
from cxrloc.localization.analyses.shortcut.section import shortcut
from cxrloc.localization.analyses.strata.section import strata
from cxrloc.localization.analyses.strata.synonyms import synonyms
from cxrloc.localization.analyses.taxonomy.section import taxonomy
from cxrloc.localization.comparison_report.answer import conclusion
from cxrloc.localization.comparison_report.first_screen import first_screen
from cxrloc.localization.comparison_report.gate_scores import gate_scores
from cxrloc.localization.comparison_report.headline import Headline, headline
from cxrloc.localization.comparison_report.protocol import (
    ProtocolResult,
    protocol_result,
    protocol_section,
)
from cxrloc.localization.evaluation.comparison import Comparison
from cxrloc.localization.evaluation.evaluated import ComparisonInputs, Evaluated
from cxrloc.localization.report.first_screen import Answer
from cxrloc.localization.report.sections import Picture, Section

Analysis = Callable[[Evaluated], Section | None]

ANALYSES: tuple[Analysis, ...] = (
    means,
    accuracy,
    paired,
    second_reader,
    end_to_end,
    operating_point,
    wafroc,
    average_precision,
    gate_scores,
    ladder,
    pointing,
    taxonomy,
    synonyms,
    strata,
    chexlocalize,
    shortcut,
    leakage,
    external_validation,
    protocol_section,
)


@dataclass(frozen=True)
class ComparisonReport:
    """What came out.

    Attributes:
        stamp: empty, or `LEAKED: ...`, which must stand on every table.
        headline: the answer in one sentence, with the figures that it was made from.
        answer: the first screen of the page, with the answer at length.
        protocol: None where none was asked for.
    """

    comparison: Comparison
    sections: tuple[Section, ...] = field(repr=False)
    audits: tuple[LocalizerAudit, ...]
    stamp: str
    headline: Headline
    answer: Answer = field(repr=False)
    gallery: tuple[Picture, ...] = field(repr=False)
    protocol: ProtocolResult | None = field(repr=False, default=None)


def build_report(
    inputs: ComparisonInputs, analyses: tuple[Analysis, ...] = ANALYSES
) -> ComparisonReport:
    """Make every analysis that the inputs allow.

    Raises:
        ValueError: as the analyses, for a gate or a localizer that does not fit the ground truth.
    """
    evaluated = Evaluated(inputs)
    sections, checked = tuple(analyse(evaluated) for analyse in analyses), evaluated.once(audits)
    said = headline(evaluated, checked)
    return ComparisonReport(
        comparison=evaluated.comparison,
        sections=tuple(section for section in sections if section is not None),
        audits=checked,
        stamp=leakage_stamp(checked),
        headline=said,
        answer=first_screen(evaluated, said, checked, conclusion(evaluated)),
        gallery=gallery(evaluated),
        protocol=evaluated.once(protocol_result),
    )
