"""Count confusion matrices: a two-by-two table per disease, since labels are not exclusive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
import numpy.typing as npt

from cxrloc.classification.metrics.scored_images import ScoredImages

SUM = "all, summed"


@dataclass(frozen=True)
class Confusion:
    """Images of one disease by label and prediction; unknown labels are left out.

    Attributes:
        true_positive, false_negative: images with the disease, predicted present or absent.
        false_positive, true_negative: images without it.
        undecided: those of these images without a threshold, all predicted absent.
    """

    disease: str
    true_positive: int
    false_negative: int
    false_positive: int
    true_negative: int
    undecided: int

    @property
    def sensitivity(self) -> float | None:
        """Share of the images with the disease that are predicted present (TPR)."""
        return _share(self.true_positive, self.true_positive + self.false_negative)

    @property
    def specificity(self) -> float | None:
        """Share of the images without the disease that are predicted absent (TNR)."""
        return _share(self.true_negative, self.true_negative + self.false_positive)

    @property
    def f1(self) -> float | None:
        """2 TP / (2 TP + FP + FN): harmonic mean of precision and sensitivity."""
        wrong = self.false_positive + self.false_negative
        return _share(2 * self.true_positive, 2 * self.true_positive + wrong)

    def record(self) -> dict[str, object]:
        """Counts and shares, for confusion.csv."""
        shares = {name: getattr(self, name) for name in ("sensitivity", "specificity", "f1")}
        return {**asdict(self), **shares}

    @property
    def matrix(self) -> npt.NDArray[np.int64]:
        """(2, 2): rows label present, absent; columns predicted present, absent."""
        rows = [
            [self.true_positive, self.false_negative],
            [self.false_positive, self.true_negative],
        ]
        return np.array(rows, dtype=np.int64)


def confusions(images: ScoredImages, rule: str) -> tuple[Confusion, ...]:
    """Counts for each disease at the thresholds of a rule (`youden` or `target`)."""
    called, without = images.present(rule), np.isnan(images.thresholds[rule])
    tables = []
    for i, disease in enumerate(images.diseases):
        positive, negative = images.labels[:, i] == 1, images.labels[:, i] == 0
        is_called = called[:, i]
        tables.append(
            Confusion(
                disease,
                true_positive=int((positive & is_called).sum()),
                false_negative=int((positive & ~is_called).sum()),
                false_positive=int((negative & is_called).sum()),
                true_negative=int((negative & ~is_called).sum()),
                undecided=int(((positive | negative) & without[:, i]).sum()),
            )
        )
    return tuple(tables)


def summed(tables: Sequence[Confusion]) -> Confusion:
    """Sum the tables of all diseases: an image counts once per disease (micro average)."""
    counts = [field.name for field in fields(Confusion) if field.name != "disease"]
    return Confusion(SUM, **{name: sum(getattr(t, name) for t in tables) for name in counts})


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
