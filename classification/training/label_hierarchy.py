"""Parents first, then their children: what `train.hierarchy` parents_first trains in two stages.

The first stage trains all layers on the labels at the top of the label tree, those that are no kind
of another output (Lung Opacity, but not Edema); the other labels are masked. The second freezes the
backbone and masks the parents: only the rows of the linear head that belong to children learn, so
that children are distinguished by what was learnt for their parents, and the parents' probabilities
stay what they were. The epoch of each is chosen by the validation loss over its labels, and the
network of the second is the result. Pham et al. 2019 (arXiv 1911.06475) train a hierarchy in two
stages with a frozen second one too; their first sees the images whose parents are present, and
their second trains the whole last layer.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cxrloc.classification.config import ClassifierConfig
from cxrloc.classification.network.backbones import STAGES
from cxrloc.classification.training.batches import ImageBatches
from cxrloc.datasets.label_policies import ancestors


def top_labels(diseases: Sequence[str]) -> tuple[str, ...]:
    """Those of the diseases that are no kind of another one among them.

    Raises:
        ValueError: when that is all of them.
    """
    top = tuple(d for d in diseases if not {*ancestors({d: 1.0})} & {*diseases})
    if len(top) == len(diseases):
        raise ValueError(
            "train.hierarchy: got 'parents_first', but none of data.diseases is a kind of another: "
            f"{', '.join(diseases)}; expected parents too, such as Lung Opacity beside Edema"
        )
    return top


def child_labels(diseases: Sequence[str]) -> tuple[str, ...]:
    """The other ones: those that are a kind of one among them."""
    top = top_labels(diseases)
    return tuple(d for d in diseases if d not in top)


def select_diseases(images: ImageBatches, diseases: Sequence[str]) -> ImageBatches:
    """The same images with all labels but those of these diseases unknown."""
    masked = copy.copy(images)
    in_set = np.isin(images.diseases, diseases)
    masked.labels = np.where(in_set, images.labels, np.nan)
    return masked


def children_config(config: ClassifierConfig) -> ClassifierConfig:
    """Settings of the second stage: backbone frozen, at its own rate."""
    # the weights are the first stage's, whatever that one began from
    model = replace(config.model, frozen_stages=STAGES, weights="first stage")
    # weight decay would shrink the parents' rows, which have no gradient
    train = replace(config.train, lr=config.train.stage2_lr, weight_decay=0.0)
    return replace(config, model=model, train=train)
