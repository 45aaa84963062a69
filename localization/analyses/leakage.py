"""Audit leakage in a comparison: which localizer had seen the images that it is scored on?"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cxrloc.classification.report.tables import ResultTable, TableRow
from cxrloc.datasets.files.keys import patient_key
from cxrloc.datasets.provenance.image_lists import ImageList, image_list
from cxrloc.datasets.provenance.leakage import CLEAN, LEAKED, NOT_KNOWN, LeakageAudit, audit_model
from cxrloc.datasets.provenance.names import common_key
from cxrloc.datasets.provenance.sidecar import Provenance
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.report.sections import Section

NO_SIDECAR = "no .manifest.json next to its file: its training images are unknown"


@dataclass(frozen=True)
class LocalizerAudit:
    """The audit of one localizer, or of the gate.

    Attributes:
        localizer: its name.
        images: scored images that it predicted.
        by_model: model (`fold0`, ... or `all`) -> audit of the scored images that it predicted.
        unknown: comparisons that were not possible, with the reason; empty if all were.
    """

    localizer: str
    images: int
    by_model: Mapping[str, LeakageAudit] = field(default_factory=dict, repr=False)
    unknown: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        if any(audit.leaked for audit in self.by_model.values()):
            return LEAKED
        return NOT_KNOWN if self.unknown else CLEAN

    @property
    def shared_images(self) -> tuple[str, ...]:
        """Scored images in the training of the model that predicted them."""
        images = (image for audit in self.by_model.values() for image in audit.shared_images)
        return tuple(dict.fromkeys(images))

    @property
    def shared_patients(self) -> tuple[str, ...]:
        """Patients in the training of the model that predicted them, each once."""
        patients = (p for audit in self.by_model.values() for p in audit.shared_patients)
        return tuple(dict.fromkeys(patients))

    @property
    def boxed_in_training(self) -> tuple[str, ...]:
        """Those of `shared_images` with a ground-truth box."""
        images = (image for audit in self.by_model.values() for image in audit.boxed_in_training)
        return tuple(dict.fromkeys(images))


def audit_comparison(
    truth_images: Mapping[str, str],
    provenances: Mapping[str, Provenance | None],
    *,
    boxed_images: Collection[str],
) -> tuple[LocalizerAudit, ...]:
    """Audit every localizer: each scored image against the training of the model that predicted it.

    Args:
        truth_images: scored image -> patient; empty, or the image's own name, if unknown.
        provenances: localizer (or `gate`) -> content of its sidecar; None without one.
        boxed_images: scored images with a box.
    """
    rows = ((image, "" if p == image else p, "") for image, p in truth_images.items())
    images = image_list(rows, "the scored images")
    return tuple(
        _audit(name, provenance, images, boxed_images) for name, provenance in provenances.items()
    )


def _audit(
    name: str, provenance: Provenance | None, images: ImageList, boxed_images: Collection[str]
) -> LocalizerAudit:
    if provenance is None or provenance.problem:
        return LocalizerAudit(name, 0, {}, (provenance.problem if provenance else NO_SIDECAR,))
    key = common_key(images.patient_of, provenance.images)
    scored = {key(image) for image in images.patient_of}
    counts = {
        model: len(scored.intersection(map(key, looked_at)))
        for model, looked_at in provenance.images_by_model.items()
    }
    if not any(counts.values()):
        return LocalizerAudit(name, 0, {}, ("its sidecar lists none of the scored images",))
    by_model: dict[str, LeakageAudit] = {}
    unknown: dict[str, None] = {}
    for model in [m for m in counts if counts[m] and provenance.models]:
        try:
            by_model[model] = audit_model(provenance, model, images, boxed_images)
        except (OSError, ValueError) as error:
            unknown[f"{model}: {error}"] = None
        else:
            unknown |= dict.fromkeys(by_model[model].unknown)
    predicted = scored.intersection(map(key, provenance.images))  # several models may share one
    return LocalizerAudit(name, len(predicted), by_model, tuple(unknown))


def leakage_stamp(localizers: Sequence[LocalizerAudit]) -> str:
    """`LEAKED: ...` for every table, naming who trained on scored images; otherwise empty."""
    leaked = [
        f"{audit.localizer} ({len(audit.shared_images)} scored images, "
        f"{len(audit.shared_patients)} patients)"
        for audit in localizers
        if audit.status == LEAKED
    ]
    if not leaked:
        return ""
    return f"LEAKED: trained on images or patients scored here: {', '.join(leaked)}"


def audits(evaluated: Evaluated) -> tuple[LocalizerAudit, ...]:
    """The audits of every localizer and of the gate."""
    images, inputs = evaluated.images, evaluated.inputs
    names = [*inputs.predictions, *(["gate"] if inputs.gate is not None else [])]
    boxed = np.flatnonzero(images.boxed).tolist()
    return audit_comparison(
        images.patient_of,
        {name: inputs.provenances.get(name) for name in names},
        boxed_images=[images.image_ids[row] for row in boxed],
    )


def leakage(evaluated: Evaluated) -> Section:
    """The checks and their results, with one row per localizer."""
    localizers = evaluated.once(audits)
    title = "Leakage audit: had a model seen what it is scored on?"
    question = (
        "Each scored image is looked up, by image and by patient, in the training list of the "
        "model that predicted it; images that chose its weights or thresholds count as seen. In a "
        "cross-validation each fold's model has its own list. The controls are not listed: they "
        "never look at an image, and use only boxes from other patients. External initial weights "
        "(ImageNet, COCO, a downloaded file) are not audited."
    )
    notes = ("Images: scored images that the localizer predicted",)
    table = ResultTable("leakage", title, tuple(map(_row, localizers)), notes)
    answer = _answer(localizers)
    return Section("leakage", title, answer, (question, answer), (table,))


def _answer(localizers: Sequence[LocalizerAudit]) -> str:
    stamp = leakage_stamp(localizers)
    if stamp:
        return f"{stamp}. Their figures are too good by an unknown amount."
    unknown = [audit.localizer for audit in localizers if audit.status == NOT_KNOWN]
    if unknown:
        return (
            f"Nothing found, but not known for {', '.join(unknown)}: a leak cannot be ruled out; "
            "see the column reason."
        )
    return "No scored image, or other image of its patient, was in the training of its model."


def _row(audit: LocalizerAudit) -> TableRow:
    return TableRow(
        block="leakage",
        lead={"localizer": audit.localizer, "status": audit.status},
        cells={
            "images": audit.images,
            "shared images": len(audit.shared_images),
            "shared patients": len(audit.shared_patients),
            "boxed images in training": len(audit.boxed_in_training),
        },
        trail={"reason": "; ".join(audit.unknown)},
    )


def external_validation(evaluated: Evaluated) -> Section | None:
    """What was trained on what, where a localizer predicted another data set than its own."""
    provenances = {
        name: provenance
        for name, provenance in evaluated.inputs.provenances.items()
        if provenance is not None and provenance.external is not None
    }
    if not provenances:
        return None
    title = "External validation: what was trained on what?"
    rows = tuple(_external_row(name, provenance) for name, provenance in provenances.items())
    table = ResultTable("external_validation", title, rows, ())
    finding = f"{', '.join(provenances)} predicted another data set than the one of the training."
    text = (
        "Diseases are paired by the label map that the images were predicted with, or by equal "
        "names. A disease of the ground truth without a counterpart in one of these models is "
        "scored for no localizer. Whether a model has seen these patients: see the leakage audit."
    )
    return Section("external_validation", title, finding, (finding, text), (table,))


def _external_row(name: str, provenance: Provenance) -> TableRow:
    facts = provenance.external or {}
    images, patients = _training_size(provenance)
    pairs = [
        disease if disease == target else f"{disease} as {target}"
        for disease, target in facts["labels"].items()
        if target is not None
    ]
    return TableRow(
        block="external_validation",
        lead={"localizer": name, "trained on": ", ".join(facts["trained_on"])},
        cells={"training images": images, "training patients": patients},
        trail={
            "predicted": facts["predicted"],
            "predicted diseases": "; ".join(pairs),
            "not asked": ", ".join(facts["no_counterpart"]["model"]),
            "not scored": ", ".join(facts["no_counterpart"]["ground_truth"]),
        },
    )


def _training_size(provenance: Provenance) -> tuple[int | str, int | str]:
    """Images and patients behind the models; `not known` without their lists."""
    patient_of: dict[str, str] = {}
    for model in provenance.models:
        try:
            patient_of |= provenance.training(model).patient_of
        except (OSError, ValueError):
            return NOT_KNOWN, NOT_KNOWN
    patients = {patient_key(patient) for patient in patient_of.values()} - {""}
    return len(patient_of), len(patients) if all(patient_of.values()) else NOT_KNOWN
