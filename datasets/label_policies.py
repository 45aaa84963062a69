"""Decide how uncertain and blank labels count, and what a finding implies about its parents.

CheXpert labels a finding present, absent or uncertain, or does not mention it (blank). `blank` and
`closure` define the meaning of labels and apply to all images, with one exception: closure makes
labels published as uncertain present only in training. `uncertain` is a training policy and applies
only to training images. Where images choose an epoch or a threshold, or are scored, an uncertain
label stays unknown even if closure implies it, and so is never scored. The policies:

    ignore          unknown: masked in the loss (U-Ignore of Irvin et al. 2019)
    ones, zeros     present, absent (U-Ones, U-Zeros)
    smoothed_ones   a random number from U(.55, .85) (Pham et al. 2019)
    smoothed_zeros  a random number from U(0, .3) (same source)
    three_class     a third class next to present and absent (U-MultiClass of Irvin et al.)

Irvin et al., "CheXpert", AAAI 2019. Pham et al., "Interpreting chest X-rays via CNNs that exploit
hierarchical disease dependencies and uncertainty labels", 2019, arXiv 1911.06475.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from cxrloc.datasets.radiograph import FloatArray, Radiograph, label_matrix

# finding -> its parent in the label tree of Irvin et al. 2019, figure 1
PARENTS: dict[str, str] = {
    "Cardiomegaly": "Enlarged Cardiomediastinum",
    "Edema": "Lung Opacity",
    "Consolidation": "Lung Opacity",
    "Atelectasis": "Lung Opacity",
    "Lung Lesion": "Lung Opacity",
    "Pneumonia": "Consolidation",
}
UNCERTAIN_CLASS = 2.0  # next to 0, absent, and 1, present
# range of values that an uncertain label takes in training
POLICIES: dict[str, tuple[float, float]] = {
    "ignore": (math.nan, math.nan),
    "ones": (1.0, 1.0),
    "zeros": (0.0, 0.0),
    "smoothed_ones": (0.55, 0.85),
    "smoothed_zeros": (0.0, 0.3),
    "three_class": (UNCERTAIN_CLASS, UNCERTAIN_CLASS),
}
BLANKS = {"unknown": math.nan, "negative": 0.0}


@dataclass(frozen=True)
class LabelRules:
    """How to read the four kinds of labels. The defaults change nothing.

    Attributes:
        uncertain: a key of `POLICIES`, for training images.
        blank: negative (not mentioned means absent) or unknown.
        closure: an image with a finding also has its parents (`PARENTS`). Only labels that say
            present imply their parents; values that a policy assigns to uncertain labels do not.
            A parent published as uncertain becomes present in training and stays unknown wherever
            images are scored.
    """

    uncertain: str = "ignore"
    blank: str = "unknown"
    closure: bool = False

    def __post_init__(self) -> None:
        for name, allowed in (("uncertain", POLICIES), ("blank", BLANKS)):
            if getattr(self, name) not in allowed:
                value = getattr(self, name)
                raise ValueError(f"{name}: got {value!r}, expected one of {', '.join(allowed)}")

    def meaning(self, radiographs: Sequence[Radiograph]) -> list[Radiograph]:
        """Apply closure and blanks to the radiographs; uncertain labels stay NaN."""
        if not self.closure and self.blank == "unknown":
            return list(radiographs)
        return [replace(r, labels=self._meaning(r)) for r in radiographs]

    def training_labels(
        self, radiographs: Sequence[Radiograph], diseases: Sequence[str], seed: int
    ) -> FloatArray:
        """(N, D) labels to train on, from radiographs returned by `meaning`.

        A smoothed label depends only on the seed, the image and the disease.
        """
        labels = label_matrix(radiographs, diseases)
        low, high = POLICIES[self.uncertain]
        for row, radiograph in enumerate(radiographs):
            implied = ancestors(radiograph.labels) if self.closure else ()
            for column, disease in enumerate(diseases):
                if disease in implied and disease in radiograph.uncertain:
                    labels[row, column] = 1.0
                elif disease in radiograph.uncertain:
                    share = _uniform(seed, radiograph.image_id, disease)
                    labels[row, column] = low + (high - low) * share
        return labels

    def _meaning(self, radiograph: Radiograph) -> dict[str, float]:
        implied = ancestors(radiograph.labels) if self.closure else ()
        blank = BLANKS[self.blank]
        labels = {}
        for disease, value in radiograph.labels.items():
            if disease in radiograph.uncertain:
                labels[disease] = value
            elif disease in implied:
                labels[disease] = 1.0
            else:
                labels[disease] = blank if math.isnan(value) else value
        return labels


@dataclass(frozen=True)
class LabelCounts:
    """Number of images per published label of one disease, and how many closure changes.

    Attributes:
        present, absent, uncertain, blank: images with that label.
        raised_absent, raised_uncertain, raised_blank: images among them that closure makes
            present; the uncertain ones only in training.
    """

    present: int = 0
    absent: int = 0
    uncertain: int = 0
    blank: int = 0
    raised_absent: int = 0
    raised_uncertain: int = 0
    raised_blank: int = 0


def ancestors(labels: Mapping[str, float]) -> tuple[str, ...]:
    """All ancestors of the diseases labelled present."""
    parents: dict[str, None] = {}
    for disease in (d for d in PARENTS if labels.get(d) == 1):
        while disease in PARENTS:
            disease = PARENTS[disease]
            parents[disease] = None
    return tuple(parents)


def count_labels(
    radiographs: Sequence[Radiograph], diseases: Sequence[str], closure: bool = False
) -> dict[str, LabelCounts]:
    """Count each label per disease before any rule, and what closure would change."""
    counts = {d: dict.fromkeys(asdict(LabelCounts()), 0) for d in diseases}
    for radiograph in radiographs:
        implied = ancestors(radiograph.labels) if closure else ()
        for disease in (d for d in diseases if d in radiograph.labels):
            state = _state(radiograph, disease)
            counts[disease][state] += 1
            if disease in implied and state != "present":
                counts[disease][f"raised_{state}"] += 1
    return {disease: LabelCounts(**of_disease) for disease, of_disease in counts.items()}


def counts_text(counts: Mapping[str, LabelCounts], rules: LabelRules | None = None) -> str:
    """Format the counts as a table; with `rules`, also state how labels are read."""
    head = ("present", "absent", "uncertain", "blank")
    raised = ("raised_absent", "raised_uncertain", "raised_blank")
    columns = (*head, *raised) if rules is not None and rules.closure else head
    lines = [f"{'label':28}" + "".join(f"{_title(name):>18}" for name in columns)]
    for disease, of_disease in counts.items():
        cells = (f"{getattr(of_disease, name):>18,}" for name in columns)
        lines.append(f"{disease:28}" + "".join(cells))
    if rules is not None:
        lines += [
            f"Blank labels count as {rules.blank}. Uncertain labels: {rules.uncertain} in "
            "training; wherever images are scored they are unknown and never scored.",
        ]
    return "\n".join(lines)


def _title(name: str) -> str:
    return name.replace("raised_", "closed ")


def _state(radiograph: Radiograph, disease: str) -> str:
    if disease in radiograph.uncertain:
        return "uncertain"
    value = radiograph.labels[disease]
    return "blank" if math.isnan(value) else "present" if value == 1 else "absent"


def _uniform(seed: int, image_id: str, disease: str) -> float:
    """A number in [0, 1) that is the same on every machine and for every order of images."""
    digest = hashlib.sha256(f"{seed}\0{image_id}\0{disease}".encode()).digest()
    return int(np.frombuffer(digest[:8], dtype="<u8")[0]) / 2**64
