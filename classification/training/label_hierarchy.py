"""Train parents first, then their children: the two stages of `train.hierarchy` parents_first.

The first stage trains all layers on the top of the label tree: labels without a parent among the
outputs (Lung Opacity, but not Edema); other labels are masked. The second stage freezes the
backbone and masks the parents. Only the children's rows of the linear head learn: children are
distinguished by features learnt for their parents, and the parents' probabilities do not change.
Each stage's epoch is chosen by the validation loss over its labels, and the result is the second
stage's network. Pham et al. 2019 (arXiv 1911.06475) also train a hierarchy in two stages with a
frozen second one; their first sees the images with positive parents, and their second trains the
whole last layer.
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
    """Diseases without a parent among the given ones.

    Raises:
        ValueError: if that is all of them.
    """
    top = tuple(d for d in diseases if not {*ancestors({d: 1.0})} & {*diseases})
    if len(top) == len(diseases):
        raise ValueError(
            "train.hierarchy: got 'parents_first', but none of data.diseases is another's parent: "
            f"{', '.join(diseases)}; expected parents too, such as Lung Opacity for Edema"
        )
    return top


def child_labels(diseases: Sequence[str]) -> tuple[str, ...]:
    """The other diseases: those with a parent among the given ones."""
    top = top_labels(diseases)
    return tuple(d for d in diseases if d not in top)


def select_diseases(images: ImageBatches, diseases: Sequence[str]) -> ImageBatches:
    """The same images with all labels unknown except those of these diseases."""
    masked = copy.copy(images)
    in_set = np.isin(images.diseases, diseases)
    masked.labels = np.where(in_set, images.labels, np.nan)
    return masked


def children_config(config: ClassifierConfig) -> ClassifierConfig:
    """Settings of the second stage: frozen backbone, own learning rate."""
    # the weights are the first stage's, whatever the initial weights were
    model = replace(config.model, frozen_stages=STAGES, weights="first stage")
    # weight decay would shrink the parents' rows, which have no gradient
    train = replace(config.train, lr=config.train.stage2_lr, weight_decay=0.0)
    return replace(config, model=model, train=train)
