"""Sample the anchors and regions for the losses, equally for any number of processes.

torchvision draws from torch's generator, one image after the other, and each draw advances it by a
number that depends on the image's positives and negatives. So each process also makes the draws for
the images of the other processes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler

from cxrloc.classification.training.distributed import gather, member
from cxrloc.detection.torchvision_backend.network import MaskRCNN


class SharedSampler(BalancedPositiveNegativeSampler):  # type: ignore[misc]
    """torchvision's sampler, but an image gets the same sample as in a single process.

    Attributes:
        positives, sampled: totals of the last call, over all images of this process.
    """

    positives: int = 0
    sampled: int = 0

    def __call__(self, matched_idxs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """See torchvision; every process must have the same number of images."""
        before, after = self._candidates_elsewhere(matched_idxs)
        device = matched_idxs[0].device
        _draw(before, device)
        positives, negatives = super().__call__(matched_idxs)
        _draw(after, device)
        self.positives = sum(int(mask.sum()) for mask in positives)
        self.sampled = self.positives + sum(int(mask.sum()) for mask in negatives)
        return positives, negatives

    def _candidates_elsewhere(self, matched_idxs: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Numbers of positives and negatives in the images before this process's, and after."""
        counts = [
            [int((matched >= 1).sum()), int((matched == 0).sum())] for matched in matched_idxs
        ]
        everywhere = gather(torch.tensor(counts))
        first = member().rank * len(counts)
        return everywhere[:first], everywhere[first + len(counts) :]


def _draw(counts: Tensor, device: torch.device) -> None:
    for count in counts.flatten().tolist():
        torch.randperm(count, device=device)


def share_sampling(model: MaskRCNN) -> None:
    """Replace the samplers of both stages by shared ones."""
    for stage in (model.rpn, model.roi_heads):
        old = stage.fg_bg_sampler
        stage.fg_bg_sampler = SharedSampler(old.batch_size_per_image, old.positive_fraction)


def loss_counts(model: MaskRCNN) -> dict[str, int]:
    """Loss -> number of anchors or regions of this process averaged in the last step."""
    anchors, regions = model.rpn.fg_bg_sampler, model.roi_heads.fg_bg_sampler
    return {
        "loss_objectness": anchors.sampled,
        "loss_rpn_box_reg": anchors.sampled,
        "loss_classifier": regions.sampled,
        "loss_box_reg": regions.sampled,
        "loss_mask": regions.positives,
    }
