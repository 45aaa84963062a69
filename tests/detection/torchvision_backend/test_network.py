"""The network: folded norms, a candidate for every disease, torchvision's names."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torchvision.models import resnet18, resnet50
from torchvision.models.detection import maskrcnn_resnet50_fpn

from builders import settled
from cxrloc.detection.config import DETECTIONS_PER_DISEASE, DetectorConfig, ModelConfig
from cxrloc.detection.torchvision_backend.best_boxes import agreement, voted_boxes
from cxrloc.detection.torchvision_backend.network import (
    MaskRCNN,
    fold_batch_norm,
    freeze_stages,
)


@pytest.mark.parametrize("make", [resnet18, resnet50])
def test_folding_the_norms_does_not_change_the_function(make: object) -> None:
    torch.manual_seed(0)
    body = settled(make(num_classes=4))  # type: ignore[operator]
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        before = body(images)
        fold_batch_norm(body)
        after = body(images)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in body.modules())
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3 * float(before.abs().max()))


def _network(config: DetectorConfig) -> MaskRCNN:
    torch.manual_seed(0)
    model = MaskRCNN(config.model, 2, config.size)
    model.set_precision("fp32")
    return model


def test_every_disease_has_a_candidate_even_from_an_untrained_network(
    small_config: DetectorConfig,
) -> None:
    model = _network(small_config).eval()
    with torch.no_grad():
        # the box head says background with all its weight
        model.roi_heads.box_predictor.cls_score.bias[:] = torch.tensor([20.0, 0.0, 0.0])
        detections = model(torch.randn(2, 3, 128, 128))
    for each in detections:
        assert sorted(each["labels"].tolist()) == [1, 2]
        assert (each["scores"] < 1e-3).all()
        assert each["masks"].shape == (2, 1, 28, 28)


def test_the_first_box_of_a_disease_is_the_one_most_candidates_agree_on(
    small_config: DetectorConfig,
) -> None:
    unvoted = replace(small_config, model=replace(small_config.model, vote_threshold=1.0))
    model, images = _network(unvoted).eval(), torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        (detections,) = model(images)
        proposals, boxes, scores = model.candidates(images, [(128, 128)])
    assert proposals.shape == (len(scores), 4)
    assert boxes.shape == (len(scores), 2, 4)
    for disease in range(2):
        first = int((detections["labels"] == disease + 1).nonzero()[0])
        best = int(agreement(boxes[:, disease], scores[:, disease]).argmax())
        torch.testing.assert_close(detections["scores"][first], scores[:, disease].max())
        torch.testing.assert_close(detections["boxes"][first], boxes[best, disease])


@pytest.mark.parametrize("part", ["backbone.body.conv1", "roi_heads"])
def test_finite_weights_that_give_nan_are_an_error_and_no_silence(
    small_config: DetectorConfig, part: str
) -> None:
    model = _network(small_config).eval()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if name.startswith(part):
                weights.fill_(3e38)
        with pytest.raises(ValueError, match=r"computes NaN: .* Train it again"):
            model(torch.randn(1, 3, 128, 128))


def test_boxes_agree_where_they_overlap_enough() -> None:
    alone, left, between, right = (
        [0.0, 0, 9, 9],
        [50.0, 0, 90, 10],
        [60.0, 0, 100, 10],
        [70.0, 0, 110, 10],
    )
    boxes, scores = torch.tensor([alone, left, between, right]), torch.tensor([0.6, 0.3, 0.2, 0.3])
    expected = [0.6, 0.3 + 0.6 * 0.2 + 0.3 / 3, 0.2 + 2 * 0.6 * 0.3, 0.3 + 0.6 * 0.2 + 0.3 / 3]
    assert agreement(boxes, scores).tolist() == pytest.approx(expected)
    assert agreement(boxes[:2], scores[:2]).tolist() == pytest.approx([0.6, 0.3])


def test_a_disease_has_at_most_so_many_boxes_and_the_strongest_come_first(
    small_config: DetectorConfig,
) -> None:
    model = _network(small_config).eval()
    with torch.no_grad():
        (detections,) = model(torch.randn(1, 3, 128, 128))
    labels = detections["labels"].tolist()
    assert max(labels.count(1), labels.count(2)) <= DETECTIONS_PER_DISEASE
    assert (detections["scores"].diff() <= 0).all()


def test_a_voted_box_is_the_mean_of_its_neighbours_weighted_by_score() -> None:
    # IoU of the first two is 80 / 120 = .67; the third is elsewhere
    boxes = torch.tensor([[0.0, 0, 10, 10], [2, 0, 12, 10], [50, 50, 60, 60]])
    scores, keep = torch.tensor([0.6, 0.2, 0.9]), torch.tensor([2, 0])
    voted = voted_boxes(boxes, scores, keep, 0.5)
    torch.testing.assert_close(voted, torch.tensor([[50.0, 50, 60, 60], [0.5, 0, 10.5, 10]]))
    assert torch.equal(voted_boxes(boxes, scores, keep, 0.7), boxes[keep])
    assert torch.equal(voted_boxes(boxes, scores, keep, 1.0), boxes[keep])
    assert voted_boxes(boxes, scores, keep[:0], 0.5).shape == (0, 4)


def test_boxes_stay_inside_a_image_that_does_not_fill_the_square(
    small_config: DetectorConfig,
) -> None:
    model = _network(small_config).eval()
    with torch.no_grad():
        (detections,) = model(torch.randn(1, 3, 128, 128), None, [(128, 80)])
    assert len(detections["boxes"])
    assert detections["boxes"][:, [0, 2]].max() <= 80


def test_training_gives_finite_losses_also_without_any_box(small_config: DetectorConfig) -> None:
    model = _network(small_config).train()
    empty = {
        "boxes": torch.zeros(0, 4),
        "labels": torch.zeros(0, dtype=torch.int64),
        "masks": torch.zeros(0, 128, 128, dtype=torch.uint8),
    }
    losses = model(torch.randn(2, 3, 128, 128), [empty, empty])
    assert set(losses) == {
        "loss_objectness",
        "loss_rpn_box_reg",
        "loss_classifier",
        "loss_box_reg",
        "loss_mask",
    }
    total = torch.stack(list(losses.values())).sum()
    torch.autograd.backward(total)
    assert torch.isfinite(total)
    assert losses["loss_mask"].item() == 0


def test_frozen_stages_have_no_gradient(small_config: DetectorConfig) -> None:
    model = _network(small_config)
    freeze_stages(model, 2)
    trained = {
        name.split(".")[2]
        for name, parameter in model.named_parameters()
        if name.startswith("backbone.body") and parameter.requires_grad
    }
    assert trained == {"layer2", "layer3", "layer4"}


def test_every_tensor_of_torchvisions_own_mask_rcnn_has_a_place() -> None:
    # with its widths, COCO's weights load whole but for the last layers of 91 classes
    with torch.device("meta"):
        torchvisions = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None).state_dict()
        wide = ModelConfig(
            architecture="resnet50",
            fpn_channels=256,
            box_hidden=1024,
            mask_channels=256,
            mask_layers=4,
        )
        ours = MaskRCNN(wide, 8, 320).state_dict()
    other = {name for name, tensor in torchvisions.items() if ours[name].shape != tensor.shape}
    assert set(ours) == set(torchvisions)
    assert {name.rsplit(".", 1)[0] for name in other} == {
        "roi_heads.box_predictor.cls_score",
        "roi_heads.box_predictor.bbox_pred",
        "roi_heads.mask_predictor.mask_fcn_logits",
    }
