"""Stamp a comparison that follows a named protocol, and make its rows of the results table.

Asked for with `compare --protocol NAME`. The ground truth was checked when it was read
(`datasets/prepared/protocols/check.py`); here each localizer is, by the sidecar of its results
file: had its model seen the patients that it predicts, and did it predict the protocol's folds? The
rows are in the form of docs/protocols/NAME.csv, the table in which papers stand side by side.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cxrloc.classification.metrics.bootstrap import DiseaseEstimates
from cxrloc.classification.report.tables import Cell, ResultTable, TableRow, Value
from cxrloc.datasets.files.keys import image_key
from cxrloc.datasets.prepared.protocols.check import ProtocolCheck
from cxrloc.datasets.prepared.protocols.protocol import Protocol
from cxrloc.datasets.provenance.leakage import LEAKED, NOT_KNOWN
from cxrloc.datasets.provenance.sidecar import Provenance
from cxrloc.localization.analyses.leakage import LocalizerAudit, audits
from cxrloc.localization.evaluation.comparison import ScoredLocalizer
from cxrloc.localization.evaluation.detections import CONTROL, DISEASE_GIVEN
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.report.sections import Section

OUT_OF_FOLD, OTHER_PATIENTS, NO_MODEL = "out of fold", "other patients", "no model"
_NOT_SHOWN = "not shown"
_FOLLOWS = (OUT_OF_FOLD, OTHER_PATIENTS, NO_MODEL)
RULE = "disease given, top-k"
THRESHOLDS = (0.1, 0.3, 0.5)
_LEAD = ("protocol", "status", "kind", "method", "training", "rule", "boxes")
_FIGURES = ("mean_iou", "mean_iou low", "mean_iou high", *(f"acc_iou@{t:g}" for t in THRESHOLDS))


def columns(protocol: Protocol) -> tuple[str, ...]:
    """Columns of the protocol's results table; those of the diseases are mean IoU."""
    return (*_LEAD, *_FIGURES, *protocol.diseases, "source", "note")


@dataclass(frozen=True)
class ProtocolRow:
    """One localizer or control under the protocol.

    Attributes:
        training: one of `OUT_OF_FOLD`, `OTHER_PATIENTS`, `NO_MODEL`; anything else says why the
            protocol is not followed.
        status: that of the ground truth, with `training not shown` where no sidecar tells, or
            that the training is against the protocol.
        note: what else a reader must know.
    """

    scored: ScoredLocalizer = field(repr=False)
    training: str
    status: str
    note: str = ""


@dataclass(frozen=True)
class ProtocolResult:
    """A comparison under a protocol."""

    check: ProtocolCheck
    diseases: tuple[str, ...]
    rows: tuple[ProtocolRow, ...] = field(repr=False)

    @property
    def name(self) -> str:
        return self.check.protocol.name

    def records(self) -> list[dict[str, str]]:
        """The rows of the results table; a disease without a box has an empty field."""
        return [self._record(row) for row in self.rows]

    def _record(self, row: ProtocolRow) -> dict[str, str]:
        figures = row.scored.estimates
        mean = figures["mean_iou"]
        values = [mean.macro.value, mean.macro.low, mean.macro.high]
        values += [figures[f"acc_iou@{t:g}"].macro.value for t in THRESHOLDS]
        per_disease = {d: e.value for d, e in zip(self.diseases, mean.per_disease, strict=True)}
        lead = (self.name, row.status, "control" if row.scored.is_control else "localizer")
        texts = (row.scored.name, row.training, RULE, str(self.check.boxes))
        record = dict(zip(_LEAD, (*lead, *texts), strict=True))
        record |= {key: _text(v) for key, v in zip(_FIGURES, values, strict=True)}
        for disease in self.check.protocol.diseases:
            record[disease] = _text(per_disease[disease]) if disease in per_disease else ""
        return record | {"source": "", "note": row.note}

    def csv(self) -> str:
        """Header and rows, to paste into the results table."""
        handle = io.StringIO()
        fields = columns(self.check.protocol)
        writer = csv.DictWriter(handle, fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.records())
        return handle.getvalue()

    def summary(self) -> dict[str, Any]:
        """JSON-ready values (schema: `summary.py`)."""
        check, protocol = self.check, self.check.protocol
        return {
            "name": protocol.name,
            "status": check.status,
            "boxes": check.boxes,
            "of_boxes": protocol.boxes,
            "images": check.images,
            "of_images": len(protocol.images),
            "boxes_sha256": protocol.boxes_sha256,
            "rows": self.records(),
        }


def _text(value: float) -> str:
    return "" if value != value else f"{value:.4f}"


def protocol_result(evaluated: Evaluated) -> ProtocolResult | None:
    """Every localizer and control under the protocol; None where none was asked for."""
    check = evaluated.inputs.protocol
    if check is None:
        return None
    comparison, by_name = evaluated.comparison, {a.localizer: a for a in evaluated.once(audits)}
    rows = [
        _row(scored, by_name, evaluated.inputs.provenances.get(scored.name), check)
        for scored in comparison.localizers
        if scored.setting in (DISEASE_GIVEN, CONTROL)
    ]
    return ProtocolResult(check, comparison.truth.disease_names, tuple(rows))


def _row(
    scored: ScoredLocalizer,
    by_name: dict[str, LocalizerAudit],
    provenance: Provenance | None,
    check: ProtocolCheck,
) -> ProtocolRow:
    if scored.is_control:
        return ProtocolRow(scored, NO_MODEL, check.status)
    training = training_of(by_name[scored.name], provenance, check.protocol)
    status = check.status if training in _FOLLOWS else "not the protocol's"
    if training.startswith(_NOT_SHOWN):
        status = f"{check.status}; training not shown"
    missed = int((~scored.scores.predicted).sum())
    note = f"boxes without a prediction, each IoU 0: {missed}" if missed else ""
    return ProtocolRow(scored, training, status, note)


def training_of(audit: LocalizerAudit, provenance: Provenance | None, protocol: Protocol) -> str:
    """What the sidecar shows: `OUT_OF_FOLD`, `OTHER_PATIENTS`, `NO_MODEL`, or what is wrong."""
    if audit.status == LEAKED:
        return f"{LEAKED}: {len(audit.shared_patients)} patients that it predicts were in training"
    if audit.status == NOT_KNOWN or provenance is None:
        return f"{_NOT_SHOWN}: {'; '.join(audit.unknown)}"
    if not provenance.models:
        return NO_MODEL
    folds = {m for m in provenance.images_by_model if m.removeprefix("fold").isdigit()}
    for model in sorted(folds):
        for image in provenance.images_by_model[model]:
            listed = protocol.images.get(image_key(image))
            if listed is not None and f"fold{listed.fold}" != model:
                return f"other folds: {model} predicted {image} of fold {listed.fold}"
    return OUT_OF_FOLD if folds else OTHER_PATIENTS


def protocol_section(evaluated: Evaluated) -> Section | None:
    """Whether the protocol is followed, by whom, and the rows of its results table.

    Left out unless `--protocol` asked for one.
    """
    result = evaluated.once(protocol_result)
    if result is None:
        return None
    protocol = result.check.protocol
    words = (
        f"{protocol.data}. Hash of the list (SHA-256): {protocol.boxes_sha256}.",
        *protocol.rules,
        "The terminal and summary.json have these rows in the form of the results table, "
        f"docs/protocols/{protocol.name}.csv.",
    )
    title = f"Protocol {protocol.name}: {result.check.status}"
    return Section("protocol", title, _finding(result), words, (_table(result),))


def _finding(result: ProtocolResult) -> str:
    others = [row.scored.name for row in result.rows if row.training not in _FOLLOWS]
    first = f"{result.check.note[:1].upper()}{result.check.note[1:]}"
    if not others:
        return f"{first}."
    verb = "are" if len(others) > 1 else "is"
    return f"{first}; {', '.join(others)} {verb} not shown to follow it."


def _table(result: ProtocolResult) -> ResultTable:
    rows = tuple(
        TableRow(
            "",
            {"localizer": row.scored.name},
            _cells(row.scored.estimates),
            {
                "boxes": result.check.boxes,
                "protocol status": row.status,
                "training": row.training,
            },
        )
        for row in result.rows
    )
    notes = (result.check.note, f"Rule: {RULE}; a disease without a box counts as 0")
    return ResultTable("protocol", f"Under protocol {result.name}", rows, notes)


def _cells(estimates: Mapping[str, DiseaseEstimates]) -> dict[str, Value]:
    keys = ("mean_iou", *(f"acc_iou@{t:g}" for t in THRESHOLDS))
    return {key: Cell(estimates[key].macro) for key in keys}
