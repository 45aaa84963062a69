"""Figures that two processes must agree on with one; test_distributed.py runs it both ways.

    torchrun --nproc-per-node 2 tests/classification/training/two_processes.py FOLDER

FOLDER/shards holds images of 64 px. Each process writes FOLDER/RANK-of-SIZE.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import nn

from cxrloc.classification.config import ClassifierConfig, ModelConfig
from cxrloc.classification.network.classifier import build_classifier
from cxrloc.classification.train_config import TrainConfig
from cxrloc.classification.training.batches import ImageBatches
from cxrloc.classification.training.distributed import (
    gather,
    mean_over_ranks,
    member,
    process_group,
    run_on_rank_zero,
)
from cxrloc.classification.training.losses.boxes import BoxRegions
from cxrloc.classification.training.losses.labels import LabelLoss
from cxrloc.classification.training.stages import train
from cxrloc.classification.training.sync_batch_norm import share_batch_statistics
from cxrloc.datasets.radiograph import Box, Radiograph
from cxrloc.datasets.shards.read import ShardSet

TRAINING, VALIDATION = 17, 5
SETTINGS = TrainConfig(
    epochs=2,
    batch_size=4,
    lr=1e-3,
    precision="fp32",
    device="cpu",
    flip=True,
    optimizer="sgd",
    loss="chexnet",
    box_loss_weight=1.0,
    weights_average=0.5,
)
Figures = dict[str, list[float]]


def rows_gathered() -> Figures:
    """Five rows, of which each process has its share: 2 and 3."""
    rows = torch.arange(10.0).reshape(5, 2)
    return {"gathered": gather(rows[member().share(5)]).flatten().tolist()}


def batch_norm() -> Figures:
    """A BatchNorm's output, gradients and running statistics over 8 maps."""
    torch.manual_seed(0)
    maps, weights = torch.randn(8, 3, 4, 4) * 3 + 5, torch.randn(8, 3, 4, 4)
    network = nn.Sequential(nn.BatchNorm2d(3))
    nn.init.normal_(network.get_parameter("0.weight"))
    if member().world_size > 1:
        share_batch_statistics(network, "cpu")
    rows = member().share(8)
    x = maps[rows].requires_grad_()
    output = network(x)
    torch.autograd.backward((output.square() * weights[rows]).sum())
    weight = network.get_parameter("0.weight")
    assert x.grad is not None
    assert weight.grad is not None
    results = {
        "output": gather(output.detach()),
        "gradient of maps": gather(x.grad),
        "gradient of weight": gather(weight.grad[None]).sum(0),
        "running mean": network.get_buffer("0.running_mean"),
        "running variance": network.get_buffer("0.running_var"),
        "output later": network.eval()(maps).detach(),
    }
    return {name: figures.flatten().tolist() for name, figures in results.items()}


def loss_with_unknown_labels() -> Figures:
    """Loss and gradient of 4 images, of which the first two have one known label of four."""
    nan = float("nan")
    labels = torch.tensor([[1, nan], [nan, nan], [0, 1], [1, 1.0]])
    rows = member().share(4)
    logits = torch.tensor([[0.5, 1], [2, 3], [-1, 0.1], [0.3, -2]])[rows].requires_grad_()
    labelled = (~labels[rows].isnan()).sum()
    part, mean = mean_over_ranks(LabelLoss()(logits, labels[rows]), labelled)
    torch.autograd.backward(part)
    assert logits.grad is not None
    averaged = gather(logits.grad) / member().world_size  # as DDP does
    return {"loss": [mean.item()], "gradient of logits": averaged.flatten().tolist()}


def training_from_shards(folder: Path) -> Figures:
    """History and weights of a small training; 17 images make 4 steps, 5 validate."""
    shards = ShardSet(str(folder / "shards"), 64)
    labels = {
        image: dict(zip(shards.diseases, row.tolist(), strict=True))
        for image, row in zip(shards.image_ids, shards.labels, strict=True)
    }
    # boxes of every second image, so that the processes differ in how many they see
    boxes = [(Box(d, (100, 200, 700, 800)) for d, y in labels[i].items() if y) for i in labels]
    images = [
        Radiograph(i, None, i, "", labels[i], tuple(of_image) if n % 2 else ())
        for n, (i, of_image) in enumerate(zip(shards.image_ids, boxes, strict=True))
    ]
    parts = (
        ImageBatches(shards, images[:TRAINING], shards.diseases, clahe_clip=2.0),
        ImageBatches(shards, images[TRAINING:], shards.diseases, clahe_clip=2.0),
    )
    parts[0].regions = BoxRegions(images[:TRAINING], shards.diseases, 64)
    model, _ = build_classifier("simple_cnn", len(shards.diseases), seed=1)
    config = ClassifierConfig(model=ModelConfig("simple_cnn", 64), train=SETTINGS)
    trained = train(model, parts, config, folder / f"run{member().world_size}")
    kinds = {type(layer) for layer in trained.model.modules() if "BatchNorm" in repr(type(layer))}
    assert kinds == {nn.BatchNorm2d}  # as if one process had trained it
    figures = {f"epoch {e.pop('epoch')}": list(e.values()) for e in map(dict, trained.history)}
    return figures | {"bias": trained.model.get_parameter("head.bias").tolist()}


def failure_of_rank_0() -> Figures:
    """What an error of rank 0 is on every rank."""
    try:
        run_on_rank_zero(lambda: 1 // 0)
    except ZeroDivisionError:
        return {"failed": [0.0]}
    except SystemExit as stop:
        return {"failed": [float(stop.code or 0)]}
    raise AssertionError("nothing was raised")


def main(folder: Path) -> None:
    with process_group("cpu"):
        print(f"I am rank {member().rank}")
        figures = rows_gathered() | batch_norm() | loss_with_unknown_labels()
        figures |= training_from_shards(folder) | failure_of_rank_0()
        name = f"{member().rank}-of-{member().world_size}.json"
        (folder / name).write_text(json.dumps(figures))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
