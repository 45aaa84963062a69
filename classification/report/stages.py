"""What each of two training stages reached: macro AUC on the validation and on the test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cxrloc.classification.metrics.ranking import ClassifierMetrics

_NAMES = {1: "1, head on a frozen backbone", 2: "2, all layers"}


@dataclass(frozen=True)
class StageFigures:
    """The best of one stage.

    Attributes:
        number: 1 or 2.
        epochs: how many it took.
        best_epoch: number of the one kept, counted from 0 through both stages.
        bundle: name of its file in the part's folder.
        chosen: whether the gate's bundle is of this stage.
        validation: on the images that chose the epoch, and so flattering.
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


def stages_markdown(stages: Sequence[StageFigures], random: Sequence[str] = ()) -> str:
    """A section for the page of metrics; empty for a training without stages.

    Args:
        random: layers that the first stage froze at random values.
    """
    if not stages:
        return ""
    head = ["stage", "epochs", "best epoch", "validation macro AUC", "test macro AUC", "bundle"]
    rows = [head, ["---"] * len(head), *map(_cells, stages)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    chosen = next(stage.number for stage in stages if stage.chosen)
    return (
        f"\n## Stages\n\n{table}\n\nThe best epoch of each stage has its highest validation AUC, "
        f"which therefore flatters. Stage {chosen} has the higher one of the two: its bundle is "
        f"the gate, and the figures above are its own.\n{random_note(random)}"
    )


def random_note(layers: Sequence[str]) -> str:
    """What a reader must know of frozen layers that the start weights lack; empty without any."""
    if not layers:
        return ""
    return (
        f"\nThe start weights lack tensors of {', '.join(layers)}: where frozen, they were "
        "partly random, so a frozen stage says little of the network.\n"
    )


def _cells(stage: StageFigures) -> list[str]:
    # people count epochs from 1
    counts = [str(stage.epochs), str(stage.best_epoch + 1)]
    figures = [str(stage.validation.macro_auc), str(stage.test.macro_auc)]
    return [_NAMES[stage.number], *counts, *figures, f"`{stage.bundle}`"]
