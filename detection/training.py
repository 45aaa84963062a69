"""The training loop of the torchvision detector: one seed one result, also after a kill.

Everything random in step n is drawn from (seed, n), so a run that was killed and resumed at its
last checkpoint ends with the same weights as one that was not.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from cxrloc.classification.bundle.file import read_bundle
from cxrloc.datasets.files.atomic import whole_file
from cxrloc.datasets.files.manifest import file_sha256
from cxrloc.detection.config import DetectorConfig, Init, TrainConfig
from cxrloc.detection.data import DetectionSet

LOG_EVERY = 10
_MAX_BAD_STEPS = 10


@dataclass
class Progress:
    """What a checkpoint must know besides weights and optimiser."""

    step: int = 0
    bad_steps: int = 0
    best_score: float = -math.inf
    best_step: int = -1
    best_state: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """One training run.

    Attributes:
        model: in training mode `losses(model, step)` gives its losses by name.
        losses: called with the step's number; must draw its data from that number alone.
        score: validation score (larger is better), or None to keep the last weights.
        steps, steps_per_epoch: length of the run.
        fingerprint: identifies config and data; a checkpoint of another run is refused.
        out_dir: log, TensorBoard files and the checkpoint.
    """

    model: nn.Module
    losses: Callable[[int], dict[str, Tensor]]
    score: Callable[[], float] | None
    steps: int
    steps_per_epoch: int
    config: TrainConfig
    seed: int
    fingerprint: str
    out_dir: Path

    @property
    def checkpoint(self) -> Path:
        return self.out_dir / "checkpoint.pt"


def lr_factor(step: int, steps: int, warmup: int) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then a cosine down to zero."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def run_mark(
    config: DetectorConfig,
    train_set: DetectionSet,
    validation_set: DetectionSet | None,
    init: Init,
) -> str:
    """Hash of everything that decides a detector's weights: settings, boxes, first weights."""
    settings = dataclasses.asdict(config)
    for part, name in (
        ("train", "checkpoint_every"),
        ("train", "threads"),
        ("model", "vote_threshold"),
    ):
        settings[part].pop(name)
    sets = [
        [[r.image_id, [(b.disease, *b.box_xyxy) for b in r.boxes]] for r in one.radiographs]
        for one in (train_set, validation_set)
        if one is not None
    ]
    return fingerprint(settings, sets, [init.kind, init.path and file_sha256(init.path)])


def is_finished(bundle: Path, mark: str) -> bool:
    """Whether the run of this `run_mark` has already written its bundle.

    Raises:
        ValueError: when the bundle is that of another run.
    """
    if not bundle.is_file():
        return False
    if read_bundle(bundle, "maskrcnn")[1].get("fingerprint") != mark:
        raise ValueError(
            f"{bundle} was trained with another config or other images; choose another out folder, "
            "or delete it to train again"
        )
    return True


def fingerprint(*parts: Any) -> str:
    """Hex SHA-256 of JSON-ready values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def epoch_order(seed: int, epoch: int, count: int) -> Sequence[int]:
    """Order of the training images in one epoch."""
    order: Sequence[int] = np.random.default_rng([seed, epoch]).permutation(count).tolist()
    return order


def make_optimizer(
    model: nn.Module, config: TrainConfig, body: nn.Module | None = None
) -> torch.optim.Optimizer:
    """AdamW or SGD; biases and norms do not decay; `body` learns at `backbone_lr_factor`."""
    in_body = {id(p) for p in body.parameters()} if body is not None else set()
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            key = (id(parameter) in in_body, parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    settings = [
        {
            "params": parameters,
            "lr": config.lr * (config.backbone_lr_factor if slow else 1.0),
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (slow, decays), parameters in groups.items()
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(settings, lr=config.lr, momentum=0.9)
    return torch.optim.AdamW(settings, lr=config.lr, fused=True)


def train(plan: Plan, optimizer: torch.optim.Optimizer) -> Progress:
    """Run the plan to its end, from its checkpoint if there is one.

    Afterwards the model holds the last weights, or the best ones where `plan.score` is given.

    Raises:
        ValueError: when the checkpoint belongs to another config or other data.
        RuntimeError: when the loss is not finite ten times in a row.
    """
    plan.out_dir.mkdir(parents=True, exist_ok=True)
    progress = _resume(plan, optimizer)
    peaks = [group["initial_lr"] for group in optimizer.param_groups]
    with (
        _Log(plan, progress.step) as log,
        tqdm(total=plan.steps, initial=progress.step, unit="step", desc=plan.out_dir.name) as bar,
    ):
        while progress.step < plan.steps:
            factor = lr_factor(progress.step, plan.steps, plan.config.warmup_steps)
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * factor
            losses = _step(plan, optimizer, progress)
            progress.step += 1
            log.write(progress.step, factor * plan.config.lr, losses)
            bar.update()
            bar.set_postfix_str(f"loss {losses['loss']:.3f}", refresh=False)
            _validate(plan, progress, log)
            if progress.step % plan.config.checkpoint_every == 0:
                save_checkpoint(plan, optimizer, progress)
    if progress.best_state:
        plan.model.load_state_dict(progress.best_state)
    return progress


def _step(plan: Plan, optimizer: torch.optim.Optimizer, progress: Progress) -> dict[str, float]:
    torch.manual_seed(plan.seed * 1_000_003 + progress.step)
    plan.model.train()
    losses = plan.losses(progress.step)
    total = torch.stack(list(losses.values())).sum()
    optimizer.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    limit = plan.config.clip_norm or math.inf
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    norm = nn.utils.clip_grad_norm_(parameters, limit)
    if bool(torch.isfinite(total)) and bool(torch.isfinite(norm)):
        optimizer.step()
        progress.bad_steps = 0
    else:
        progress.bad_steps += 1
        if progress.bad_steps >= _MAX_BAD_STEPS:
            raise RuntimeError(
                f"the loss or its gradient was not finite {_MAX_BAD_STEPS} times in a row "
                f"(step {progress.step}, lr {plan.config.lr}); lower train.lr or set "
                "train.precision to fp32"
            )
    return {"loss": total.item(), **{name: value.item() for name, value in losses.items()}}


def _validate(plan: Plan, progress: Progress, log: _Log) -> None:
    every = plan.config.validate_every * plan.steps_per_epoch
    if plan.score is None or (progress.step % every and progress.step != plan.steps):
        return
    plan.model.eval()
    score = plan.score()
    log.validation(progress.step, score)
    if score > progress.best_score:
        state = {k: v.detach().clone() for k, v in plan.model.state_dict().items()}
        progress.best_score, progress.best_step, progress.best_state = score, progress.step, state


def save_checkpoint(plan: Plan, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    """Tensors and plain values only, so that `torch.load(weights_only=True)` reads it; atomic."""
    state = {
        "model": plan.model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "progress": vars(progress),
        "fingerprint": plan.fingerprint,
    }
    with whole_file(plan.checkpoint) as temporary:
        torch.save(state, temporary)


def _resume(plan: Plan, optimizer: torch.optim.Optimizer) -> Progress:
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    if not plan.checkpoint.is_file():
        return Progress()
    state = torch.load(plan.checkpoint, map_location="cpu", weights_only=True)
    if state["fingerprint"] != plan.fingerprint:
        raise ValueError(
            f"{plan.checkpoint} belongs to a run with another config or other images; choose "
            "another out folder, or delete this file to start over"
        )
    plan.model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    progress = Progress(**state["progress"])
    print(f"resumed at step {progress.step} of {plan.steps}", flush=True)
    return progress


class _Log:
    """loss.csv and TensorBoard; rows after the resumed step are dropped, so that none is there
    twice.
    """

    def __init__(self, plan: Plan, start: int) -> None:
        self.path = plan.out_dir / "loss.csv"
        self.board = SummaryWriter(str(plan.out_dir / "tensorboard"), purge_step=start or None)
        self.sums: dict[str, float] = {}
        self.count = 0
        if self.path.is_file():
            lines = self.path.read_text().splitlines(keepends=True)
            kept = [line for line in lines[1:] if int(line.split(",")[0]) <= start]
            self.path.write_text("".join([*lines[:1], *kept]) if start else "")

    def __enter__(self) -> _Log:
        return self

    def __exit__(self, *_: object) -> None:
        self.board.close()

    def write(self, step: int, lr: float, losses: Mapping[str, float]) -> None:
        """Add one step; every `LOG_EVERY` steps their mean becomes a row."""
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1
        if step % LOG_EVERY:
            return
        row = {"step": step, "lr": lr, **{k: v / self.count for k, v in self.sums.items()}}
        new = not self.path.is_file() or not self.path.stat().st_size
        with self.path.open("a", newline="") as handle:
            writer = csv.DictWriter(handle, list(row), lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow({k: f"{v:.6g}" for k, v in row.items()})
        for name, value in row.items():
            self.board.add_scalar(f"train/{name}", value, step)
        self.sums, self.count = {}, 0

    def validation(self, step: int, score: float) -> None:
        """One validation score."""
        self.board.add_scalar("validation/mean_iou", score, step)
        tqdm.write(f"step {step}: mean IoU on the validation images {score:.3f}")
