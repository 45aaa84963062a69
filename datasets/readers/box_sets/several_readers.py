"""Make one set of boxes of what several readers drew on an image.

    union       every box of every reader, and a disease is present if one reader says so
    majority    one box where more than half of the image's readers agree, their mean; a disease is
                present if more than half of them say so
    wbf         one box per finding of at least one reader, the mean of those who agree on it
    R8          what this reader drew, on the images that the reader read

Readers agree on a finding if they drew boxes of one disease whose IoU is over .4, the criterion of
the VinBigData challenge. Boxes are joined pair by pair, the closest first, and never two of one
reader. `wbf` is the weighted boxes fusion of Solovyev et al. (2021) with equal weights, save that
its result does not depend on the order of the boxes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cxrloc.datasets.radiograph import box_iou
from cxrloc.datasets.readers.box_sets.findings import BoxXyxy

UNION, MAJORITY, WBF = "union", "majority", "wbf"
RULES = (UNION, MAJORITY, WBF)
AGREEMENT_IOU = 0.4
_READER = re.compile(r"R\d+")


@dataclass(frozen=True)
class Drawn:
    """A box of one disease by one reader."""

    reader: str
    box_xyxy: BoxXyxy


def rule_or_reader(text: str) -> str:
    """The rule to use, `majority` by default, or one reader's id.

    Raises:
        ValueError: for anything else.
    """
    if not text:
        return MAJORITY
    if text in RULES or _READER.fullmatch(text):
        return text
    raise ValueError(f"--readers {text!r}: expected {', '.join(RULES)}, or one reader such as R8")


def present(rule: str, said: Collection[str], readers: Collection[str]) -> bool:
    """Whether a disease counts as present, if `said` of the image's readers say so."""
    return len(said) * 2 > len(readers) if rule == MAJORITY else bool(said)


def joined(rule: str, drawn: Sequence[Drawn], readers: Collection[str]) -> list[BoxXyxy]:
    """The boxes of one disease on one image.

    Args:
        readers: all who read the image, also those who drew no box.
    """
    if rule not in (MAJORITY, WBF):
        return [box.box_xyxy for box in drawn]
    needed = len(readers) // 2 + 1 if rule == MAJORITY else 1
    return [_mean(cluster) for cluster in _clusters(drawn) if len(cluster) >= needed]


def _clusters(drawn: Sequence[Drawn]) -> list[list[Drawn]]:
    """Boxes of different readers that mean one finding, in order of their first box."""
    clusters = [[box] for box in sorted(drawn, key=lambda box: (box.box_xyxy, box.reader))]
    while True:
        pairs = [
            (box_iou(_mean(first), _mean(second)), -i, -j)
            for i, first in enumerate(clusters)
            for j, second in enumerate(clusters[:i])
            if {box.reader for box in first}.isdisjoint(box.reader for box in second)
        ]
        closest, i, j = max(pairs, default=(0.0, 0, 0))
        if closest <= AGREEMENT_IOU:
            return clusters
        clusters[-j] += clusters.pop(-i)


def _mean(boxes: Sequence[Drawn]) -> BoxXyxy:
    sides = zip(*(box.box_xyxy for box in boxes), strict=True)
    x1, y1, x2, y2 = (sum(side) / len(side) for side in sides)
    return x1, y1, x2, y2
