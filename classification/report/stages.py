"""Report the two stages of a training: macro AUC on the validation and on the test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cxrloc.classification.metrics.ranking import ClassifierMetrics
from cxrloc.classification.report.tables import Cell, ResultTable, TableRow, Value

_NAMES = {1: "1, head on a frozen backbone", 2: "2, all layers"}


@dataclass(frozen=True)
class StageFigures:
    """The best result of one stage.

    Attributes:
        number: 1 or 2.
        epochs: number of epochs.
        best_epoch: number of the epoch kept, counted from 0 across both stages.
        bundle: name of its file in the part's folder.
        chosen: whether the gate's bundle comes from this stage.
        validation: on the images that chose the epoch, and so optimistic.
        test: on the test images.
    """

    number: int
    epochs: int
    best_epoch: int
    bundle: str
    chosen: bool
    validation: ClassifierMetrics
    test: ClassifierMetrics

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {
            "stage": self.number,
            "epochs": self.epochs,
            "best_epoch": self.best_epoch,
            "bundle": self.bundle,
            "chosen": self.chosen,
            "validation": self.validation.to_json(),
            "test": self.test.to_json(),
        }


def stage_tables(
    stages: Sequence[StageFigures], random: Sequence[str] = ()
) -> tuple[ResultTable, ...]:
    """A table for the page of metrics; empty for a training without stages.

    Args:
        random: layers that the first stage froze with random values.
    """
    if not stages:
        return ()
    chosen = next(stage.number for stage in stages if stage.chosen)
    notes = (
        "The best epoch of each stage has its highest validation AUC, which is therefore "
        f"optimistic. Stage {chosen} has the higher one: its bundle is the gate, and the figures "
        "above belong to it",
        *random_notes(random),
    )
    return (ResultTable("stages", "Stages", tuple(map(_row, stages)), notes),)


def random_notes(layers: Sequence[str]) -> tuple[str, ...]:
    """Warning about frozen layers that are missing from the initial weights; empty without any."""
    if not layers:
        return ()
    return (
        f"The initial weights lack tensors of {', '.join(layers)}: where frozen, they were partly "
        "random, so a frozen stage says little about the network",
    )


def _row(stage: StageFigures) -> TableRow:
    cells: dict[str, Value] = {
        "epochs": stage.epochs,
        "best epoch": stage.best_epoch + 1,  # people count epochs from 1
        "validation macro AUC": Cell(stage.validation.macro_auc),
        "test macro AUC": Cell(stage.test.macro_auc),
        "bundle": f"`{stage.bundle}`",
    }
    return TableRow("", {"stage": _NAMES[stage.number]}, cells)
