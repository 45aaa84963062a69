"""Sides of the benchmarks that compare one computation with the ways around it."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from cxrloc.tools.experiments.benchmarks.timing import Part, Sides


def index_sides(arguments: argparse.Namespace) -> Sides:
    import pandas as pd

    from cxrloc.datasets.readers import nih

    if arguments.root is None:
        raise ValueError("--root is missing: expected a folder of NIH ChestX-ray14")
    label_file = nih.index(arguments.root).sources[0]
    return {
        "read the label CSV with pandas": lambda: pd.read_csv(label_file),
        "index lists, labels, boxes and image folders": lambda: nih.index(arguments.root),
    }


def cam_sides(arguments: argparse.Namespace) -> Sides:
    import torch

    from cxrloc.classification.network.classifier import build_classifier
    from cxrloc.localization.cam.activation_maps import class_activation_maps

    diseases = list(range(14))
    model = build_classifier("resnet18", len(diseases))[0].eval()
    x = torch.randn(1, 3, arguments.size, arguments.size)

    def forward() -> None:
        with torch.inference_mode():
            model(x)

    def closed_form() -> None:
        with torch.inference_mode():
            class_activation_maps(model, model(x).features, diseases)

    def backward_passes() -> None:
        output = model(x)
        output.features.retain_grad()
        for disease in diseases:
            model.zero_grad()
            output.logits[0, disease].backward(retain_graph=True)

    return {
        "one forward pass": forward,
        "forward and 14 maps in closed form": closed_form,
        "forward and 14 backward passes": backward_passes,
    }


def precision_sides(arguments: argparse.Namespace) -> Sides:
    import torch

    from cxrloc.classification.network.classifier import build_classifier
    from cxrloc.classification.network.precision import Precision, autocast, resolve_precision

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build_classifier("resnet18", 14)[0].to(device)
    model = model.to(memory_format=torch.channels_last)
    x = torch.randn(8, 3, arguments.size, arguments.size, device=device)
    x = x.to(memory_format=torch.channels_last)
    print(f"train.precision auto is {resolve_precision('auto', device)} on this machine")

    def step(precision: Precision) -> None:
        with autocast(precision, device):
            loss = model(x).logits.float().square().mean()
        model.zero_grad()
        loss.backward()
        loss.item()

    return {
        "training step, fp32": lambda: step("fp32"),
        "training step, bf16": lambda: step("bf16"),
    }


def bootstrap_sides(arguments: argparse.Namespace) -> Sides:
    """5 localizers, with and without a gate, and 4 controls: 14 rows of 66 measures each."""
    import numpy as np

    from cxrloc.classification.metrics.bootstrap import RESAMPLES, ClusterBootstrap

    rng = np.random.default_rng(0)
    boxes, patients, diseases, rows, measures = 984, 726, 8, 14, 66
    owners = [str(p) for p in [*range(patients), *rng.integers(0, patients, boxes - patients)]]
    disease_of = rng.integers(0, diseases, boxes)
    values = rng.random((rows, boxes, measures))
    bootstrap = ClusterBootstrap.of(owners, disease_of, diseases, resamples=RESAMPLES, seed=0)
    boxes_of = [np.flatnonzero(bootstrap.patient_of == p) for p in range(patients)]
    one_in = 20

    def intervals() -> None:
        drawn = ClusterBootstrap.of(owners, disease_of, diseases, resamples=RESAMPLES, seed=0)
        for row in values:
            drawn.estimates(row)

    def loop() -> None:
        every = np.concatenate(values, axis=1)
        for counts in bootstrap.counts[::one_in]:
            drawn = np.concatenate([np.tile(boxes_of[p], int(n)) for p, n in enumerate(counts)])
            for disease in range(diseases):
                every[drawn[disease_of[drawn] == disease]].mean(axis=0)

    return {
        f"{RESAMPLES:,} resamples, {rows * measures} means, intervals": intervals,
        f"means in a loop, 1 in {one_in} resamples run": Part(loop, one_in),
    }


BENCHMARKS: dict[str, Callable[[argparse.Namespace], Sides]] = {
    "index": index_sides,
    "cam": cam_sides,
    "precision": precision_sides,
    "bootstrap": bootstrap_sides,
}
