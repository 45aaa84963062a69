"""The whole comparison: every analysis of the same predictions, in the order of the report.

study = run_study(StudyInputs(coco, predictions, gate=read_gate_table(path)))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from cxrloc.classification.inference.gate_table import GateRow
from cxrloc.classification.metrics.bootstrap import RESAMPLES
from cxrloc.datasets.provenance.sidecar import Provenance
from cxrloc.localization.analyses.average_precision import Results, ap_section
from cxrloc.localization.analyses.chexlocalize.format import ChexlocalizeFiles
from cxrloc.localization.analyses.chexlocalize.section import chexlocalize_section
from cxrloc.localization.analyses.end_to_end.section import end_to_end_section
from cxrloc.localization.analyses.gallery.choose import choose
from cxrloc.localization.analyses.gallery.pictures import gallery_pictures
from cxrloc.localization.analyses.ladder.ladder import ladder_section
from cxrloc.localization.analyses.leakage import (
    LocalizerAudit,
    audit_comparison,
    leakage_section,
    leakage_stamp,
)
from cxrloc.localization.analyses.means import comparison_sections
from cxrloc.localization.analyses.shortcut.section import shortcut_check
from cxrloc.localization.analyses.shortcut.shortcut import read_regions
from cxrloc.localization.analyses.strata.section import strata_section
from cxrloc.localization.analyses.synonyms import synonyms_section
from cxrloc.localization.analyses.taxonomy.section import taxonomy_section
from cxrloc.localization.analyses.taxonomy.taxonomy import taxonomies
from cxrloc.localization.cam.heat_maps import HeatMaps
from cxrloc.localization.comparison_report.answer import answer
from cxrloc.localization.evaluation.comparison import DISEASE_GIVEN, Comparison, Gate, compare
from cxrloc.localization.evaluation.controls import controls_everywhere
from cxrloc.localization.evaluation.ground_truth import scorable
from cxrloc.localization.evaluation.image_table import BOXED, ImageTable, image_table
from cxrloc.localization.localizer import Localization
from cxrloc.localization.report.sections import Picture, Section

Predictions = Mapping[str, Sequence[Localization]]
Coverage = dict[str, frozenset[str]]


@dataclass(frozen=True)
class StudyInputs:
    """What is compared.

    Attributes:
        coco: ground truth, see `datasets.coco`.
        predictions: localizer -> its boxes, in the file's order.
        gate: the gate's decisions; None leaves all that is gated out.
        provenances: localizer (and `gate`) -> what stands beside its file; missing or None where
            nothing does (files of others).
        maps: localizer -> its heat maps, of those that have any.
        masks: localizer -> COCO results with masks.
        image_paths: image id -> file, for the gallery and the shortcut check.
        resamples, seed: of the patients; the seed is also that of random_map.
        chexlocalize: masks and points in cheXlocalize's terms; None where that is not asked.
        noninferiority_margin: see `comparison.compare`.
        published: print the published figures of NIH's diseases beside ours.
    """

    coco: Mapping[str, Any] = field(repr=False)
    predictions: Predictions = field(repr=False)
    gate: Sequence[GateRow] | None = field(repr=False, default=None)
    provenances: Mapping[str, Provenance | None] = field(repr=False, default_factory=dict)
    maps: Mapping[str, HeatMaps] = field(repr=False, default_factory=dict)
    masks: Mapping[str, Results] = field(repr=False, default_factory=dict)
    image_paths: Mapping[str, Path] = field(repr=False, default_factory=dict)
    chexlocalize: ChexlocalizeFiles | None = field(repr=False, default=None)
    resamples: int = RESAMPLES
    seed: int = 0
    noninferiority_margin: float | None = None
    published: bool = True

    def __post_init__(self) -> None:
        for kind in ("maps", "masks"):
            for name in getattr(self, kind):
                if name not in self.predictions:
                    known = ", ".join(self.predictions) or "none"
                    raise ValueError(
                        f"{kind} of {name!r}: expected the name of predictions ({known})"
                    )

    @property
    def decisions(self) -> Gate | None:
        """(image_id, disease) -> present."""
        if self.gate is None:
            return None
        return {(row.image_id, row.disease): row.present for row in self.gate}

    @property
    def probabilities(self) -> dict[tuple[str, str], float] | None:
        """(image_id, disease) -> the gate's probability."""
        if self.gate is None:
            return None
        return {(row.image_id, row.disease): row.probability for row in self.gate}


@dataclass(frozen=True)
class Study:
    """What came out. `stamp` is empty, or `LEAKED: ...`, which must stand on every table."""

    comparison: Comparison
    sections: tuple[Section, ...] = field(repr=False)
    audits: tuple[LocalizerAudit, ...]
    stamp: str
    answer: tuple[str, ...]
    gallery: tuple[Picture, ...] = field(repr=False)
    chexlocalize: ChexlocalizeFiles | None = field(repr=False, default=None)


def run_study(inputs: StudyInputs) -> Study:
    """Make every analysis that the inputs allow.

    Raises:
        ValueError: as `comparison.compare`.
    """
    comparison = compare(
        inputs.coco,
        inputs.predictions,
        inputs.decisions,
        resamples=inputs.resamples,
        seed=inputs.seed,
        noninferiority_margin=inputs.noninferiority_margin,
    )
    images = image_table(inputs.coco)
    audits = _audits(inputs, comparison, images)
    sections = (
        *comparison_sections(comparison, published=inputs.published),
        *_image_sections(inputs, comparison, images),
        *_box_sections(inputs, comparison, images),
        *_mask_sections(inputs, images),
        *_shortcut_sections(inputs, images),
        leakage_section(audits),
    )
    return Study(
        comparison=comparison,
        sections=sections,
        audits=audits,
        stamp=leakage_stamp(audits),
        answer=answer(
            comparison, taxonomies(comparison.truth, inputs.predictions, inputs.decisions)
        ),
        gallery=_gallery(inputs, comparison),
        chexlocalize=inputs.chexlocalize,
    )


def coverage_of(
    images: ImageTable,
    predictions: Predictions,
    provenances: Mapping[str, Provenance | None],
) -> Coverage:
    """Images that each localizer has looked at.

    Its sidecar says so. Without one (a file of others) it has looked at all images if it has a box
    on any image without a ground-truth box, else at the boxed images.
    """
    everything = frozenset(images.image_ids)
    boxed = frozenset(_boxed_images(images))
    coverage = {}
    for name, boxes in predictions.items():
        provenance = provenances.get(name)
        if provenance is not None and provenance.images:
            coverage[name] = provenance.images & everything
        else:
            elsewhere = any(box.image_id not in boxed for box in boxes)
            coverage[name] = everything if elsewhere else boxed
    return coverage


def _image_sections(
    inputs: StudyInputs, comparison: Comparison, images: ImageTable
) -> tuple[Section, ...]:
    """What is scored on all images, also on those without a finding; the controls box them all."""
    controls = controls_everywhere(scorable(inputs.coco), inputs.probabilities)
    predictions = {**inputs.predictions, **controls}
    coverage = coverage_of(images, inputs.predictions, inputs.provenances)
    coverage |= dict.fromkeys(controls, frozenset(images.image_ids))
    end_to_end = end_to_end_section(
        images,
        comparison.truth,
        predictions,
        inputs.decisions,
        coverage,
        resamples=inputs.resamples,
        seed=inputs.seed,
    )
    paragraphs = (*end_to_end.paragraphs, _everywhere(inputs.gate is not None))
    end_to_end = replace(end_to_end, paragraphs=paragraphs)
    return end_to_end, ap_section(inputs.coco, predictions, coverage, inputs.masks)


def _everywhere(gate: bool) -> str:
    score = "the gate's probability: only their place is blind" if gate else "1 everywhere"
    return (
        "The controls prior_box and constant_box box every disease on every image here; their "
        f"score is {score}."
    )


def _box_sections(
    inputs: StudyInputs, comparison: Comparison, images: ImageTable
) -> tuple[Section, ...]:
    """What is scored on the ground-truth boxes."""
    truth, gate = comparison.truth, inputs.decisions
    draws = {"resamples": inputs.resamples, "seed": inputs.seed}
    given = {s.name: s.scores.iou for s in comparison.localizers if s.setting == DISEASE_GIVEN}
    ious = {name: given[name] for name in inputs.maps}
    ladder = (ladder_section(images, truth, inputs.maps, ious, **draws),) if inputs.maps else ()
    return (
        *ladder,
        taxonomy_section(truth, inputs.predictions, gate, comparison.controls),
        synonyms_section(truth, inputs.predictions, gate, **draws),
        strata_section(images, comparison),
    )


def _mask_sections(inputs: StudyInputs, images: ImageTable) -> tuple[Section, ...]:
    """What is scored on cheXlocalize's masks."""
    if inputs.chexlocalize is None:
        return ()
    patients = dict(zip(images.image_ids, images.patient_ids, strict=True))
    draws = {"resamples": inputs.resamples, "seed": inputs.seed}
    return (chexlocalize_section(inputs.chexlocalize, patients, **draws),)


def _shortcut_sections(inputs: StudyInputs, images: ImageTable) -> tuple[Section, ...]:
    """Where the heat maps look; needs maps and the images themselves."""
    mapped = [image for maps in inputs.maps.values() for image, _ in maps.pairs]
    regions = read_regions(inputs.image_paths, mapped)
    if not regions:
        return ()
    patients = dict(zip(images.image_ids, images.patient_ids, strict=True))
    draws = {"resamples": inputs.resamples, "seed": inputs.seed}
    return (shortcut_check(inputs.maps, regions, patients, **draws),)


def _audits(
    inputs: StudyInputs, comparison: Comparison, images: ImageTable
) -> tuple[LocalizerAudit, ...]:
    names = [*inputs.predictions, *(["gate"] if inputs.gate is not None else [])]
    return audit_comparison(
        dict(zip(images.image_ids, images.patient_ids, strict=True)),
        {name: inputs.provenances.get(name) for name in names},
        boxed_images=_boxed_images(images),
    )


def _boxed_images(images: ImageTable) -> list[str]:
    boxed = np.flatnonzero((images.status == BOXED).any(axis=1))
    return [images.image_ids[row] for row in boxed.tolist()]


def _gallery(inputs: StudyInputs, comparison: Comparison) -> tuple[Picture, ...]:
    chosen = choose(comparison)
    return gallery_pictures(
        chosen, inputs.image_paths, inputs.coco, inputs.predictions, inputs.maps
    )
