"""Confusion matrices: one two-by-two table of counts per disease, as labels are not exclusive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxrloc.classification.scored_films import ScoredFilms


@dataclass(frozen=True)
class Confusion:
    """Films of one disease by label and decision; unknown labels are left out.

    Attributes:
        true_positive, false_negative: films with the disease, called present or absent.
        false_positive, true_negative: films without it.
        undecided: of these films those without a threshold, all called absent.
    """

    disease: str
    true_positive: int
    false_negative: int
    false_positive: int
    true_negative: int
    undecided: int

    @property
    def matrix(self) -> npt.NDArray[np.int64]:
        """(2, 2): rows label present, absent; columns called present, absent."""
        rows = [
            [self.true_positive, self.false_negative],
            [self.false_positive, self.true_negative],
        ]
        return np.array(rows, dtype=np.int64)


def confusions(films: ScoredFilms, rule: str) -> tuple[Confusion, ...]:
    """The counts of each disease by the thresholds of a rule (`youden` or `target`)."""
    called, without = films.present(rule), np.isnan(films.thresholds[rule])
    tables = []
    for i, disease in enumerate(films.diseases):
        ill, well, yes = films.labels[:, i] == 1, films.labels[:, i] == 0, called[:, i]
        tables.append(
            Confusion(
                disease,
                true_positive=int((ill & yes).sum()),
                false_negative=int((ill & ~yes).sum()),
                false_positive=int((well & yes).sum()),
                true_negative=int((well & ~yes).sum()),
                undecided=int(((ill | well) & without[:, i]).sum()),
            )
        )
    return tuple(tables)
