"""Training and prediction of the gate on this machine's device, beside a plain torchvision loop.

    print(training_table("resnet18", size=512, batch=16, repeats=5))

Images are noise that is decoded already: reading them is `benchmark data`. Both sides train the
same network on the same images with the same optimizer. Ours changes and normalises the images on
the device, in the number format that `train.precision auto` takes, in channels_last; the plain loop
normalises them one by one on the CPU, does not change them, and computes in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch.nn import functional as F

from cxrloc.classification.bundle.classifier import ClassifierBundle
from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.inference.gate import Gate
from cxrloc.classification.network.classifier import build_classifier
from cxrloc.classification.network.imagenet import IMAGENET_MEAN, IMAGENET_STD
from cxrloc.classification.network.precision import autocast, resolve_device, resolve_precision
from cxrloc.classification.report.tables import ResultTable, TableRow, to_text
from cxrloc.classification.train_config import TrainConfig
from cxrloc.classification.training.batches import augment
from cxrloc.datasets.labels.names import NIH_DISEASES
from cxrloc.tools.experiments.benchmarks.timing import Cost, compare

Pixels = torch.Tensor  # (N, S, S) uint8


def training_table(architecture: str, size: int, batch: int, repeats: int) -> str:
    """Images per second of a training step and of a prediction, ours and plain."""
    device = resolve_device("auto")
    drawn = np.random.default_rng(0).integers(0, 256, (batch, size, size), dtype=np.uint8)
    pixels = torch.from_numpy(drawn)
    number = resolve_precision("auto", device)
    step, plain_step = (
        partial(_our_step, architecture, size, device),
        partial(_plain_step, architecture, device),
    )
    ours, plain = (
        partial(_our_prediction, architecture, size, device),
        partial(_plain_prediction, architecture, device),
    )
    # each is made when it is measured: the memory of a GPU is then that of one network
    sides = {
        f"training, ours in {number}": (step, batch),
        "training, plain torchvision": (plain_step, batch),
        f"prediction, ours in {number}": (ours, batch),
        "prediction, plain torchvision": (plain, batch),
        "prediction of one image, ours": (ours, 1),
        "prediction of one image, plain": (plain, 1),
    }
    rows = [
        _row(_measured(name, partial(make(), pixels[:images]), repeats, device), images)
        for name, (make, images) in sides.items()
    ]
    what = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    threads = torch.get_num_threads()
    title = f"{architecture} at {size} px, {batch} images at a time, on {what}, {threads} thread(s)"
    return to_text(ResultTable("training", f"{title}, medians of {repeats}", tuple(rows), ()))


def _measured(
    name: str, run: Callable[[], object], repeats: int, device: torch.device
) -> tuple[Cost, float | None]:
    """Its cost, and the most memory in MB that it took on a GPU."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    [cost] = compare({name: run}, repeats)
    if device.type != "cuda":
        return cost, None
    return cost, torch.cuda.max_memory_allocated(device) / 1e6


def _row(measured: tuple[Cost, float | None], images: int) -> TableRow:
    cost, memory = measured
    cells = {
        "ms": f"{1000 * cost.wall:.1f}",
        "images / s": f"{images / cost.wall:.1f}",
        "GPU MB": "-" if memory is None else round(memory),
    }
    return TableRow("", {"side": cost.name}, cells)


def _our_step(architecture: str, size: int, device: torch.device) -> Callable[[Pixels], object]:
    model = build_classifier(architecture, len(NIH_DISEASES))[0].train().to(device)
    model = model.to(memory_format=torch.channels_last)
    preprocessing, config = Preprocessing(size), TrainConfig()
    number, rng = resolve_precision("auto", device), np.random.default_rng(0)
    optimizer = _optimizer(model)

    def step(pixels: Pixels) -> float:
        changed = augment(pixels.to(device).float(), config, rng)
        with autocast(number, device):
            logits = model(preprocessing.normalise(changed)).logits
        return _learn(optimizer, logits)

    return step


def _plain_step(architecture: str, device: torch.device) -> Callable[[Pixels], object]:
    model = _plain(architecture).train().to(device)
    optimizer = _optimizer(model)
    return lambda pixels: _learn(optimizer, model(_plain_input(pixels).to(device)))


def _optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-4)


def _learn(optimizer: torch.optim.Optimizer, logits: torch.Tensor) -> float:
    loss = F.binary_cross_entropy_with_logits(logits.float(), torch.zeros_like(logits).float())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.item()  # waits for the device


def _our_prediction(
    architecture: str, size: int, device: torch.device
) -> Callable[[Pixels], object]:
    model = build_classifier(architecture, len(NIH_DISEASES))[0].eval()
    thresholds = dict.fromkeys(NIH_DISEASES, 0.5)
    bundle = ClassifierBundle(model, NIH_DISEASES, thresholds, Preprocessing(size), {}, {}, {})
    gate = Gate(bundle, str(device), "auto")
    return lambda pixels: gate.forward_squares(pixels.numpy())


def _plain_prediction(architecture: str, device: torch.device) -> Callable[[Pixels], object]:
    model = _plain(architecture).eval().to(device)

    @torch.inference_mode()
    def predict(pixels: Pixels) -> torch.Tensor:
        logits: torch.Tensor = model(_plain_input(pixels).to(device))
        return logits.sigmoid().cpu()

    return predict


def _plain(architecture: str) -> torch.nn.Module:
    from torchvision.models import get_model

    network: torch.nn.Module = get_model(architecture, weights=None, num_classes=len(NIH_DISEASES))
    return network


def _plain_input(pixels: Pixels) -> torch.Tensor:
    """As tutorials do it: every image by itself, on the CPU."""
    from torchvision.transforms.v2.functional import normalize

    scaled = [image.float().div(255).expand(3, -1, -1) for image in pixels]
    return torch.stack([normalize(image, IMAGENET_MEAN, IMAGENET_STD) for image in scaled])
