"""Train with detectron2's own trainer, hooks and dataset catalog, on torchvision's schedule.

Both backends use the same images with the same augmentation in the same order, at the same learning
rates. A run resumed after a kill ends like an uninterrupted one. detectron2 is imported inside
functions only.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from cxrloc.classification.bundle.file import read_bundle, write_bundle
from cxrloc.classification.training.distributed import member
from cxrloc.classification.training.optimization import warmed_up_cosine
from cxrloc.datasets.progress import progress
from cxrloc.detection.config import DetectorConfig, Init
from cxrloc.detection.data import DetectionSet
from cxrloc.detection.detectron2_backend.checkpointer import tensors_only_checkpointer
from cxrloc.detection.detectron2_backend.data import Draws, coco_records, training_loader
from cxrloc.detection.detectron2_backend.network import Networks, start_network
from cxrloc.detection.detectron2_backend.predictor import Detectron2Predictor
from cxrloc.detection.mask_rcnn import bundle_metadata
from cxrloc.detection.run_config import MaskRCNNFolder
from cxrloc.detection.training import (
    Best,
    check_images,
    is_finished,
    kept,
    make_optimizer,
    run_mark,
    seed_step,
    training_facts,
)
from cxrloc.detection.validation import scores_line, validation_scores

_BEST_NAME = "best.safetensors"
_LOG_EVERY = 10  # steps


@dataclass
class RunState:
    """Content of a checkpoint beyond detectron2's own: identity of the run, and its best score."""

    mark: str
    best: Best = field(default_factory=Best)

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the scores.

        Raises:
            ValueError: if the checkpoint belongs to another run.
        """
        if state["mark"] != self.mark:
            raise ValueError(
                "the checkpoint in the out folder belongs to a run with another config or other "
                "images; choose another out folder, or delete its last_checkpoint to start over"
            )
        self.best = Best(**state["best"])


def train(
    config: DetectorConfig,
    train_set: DetectionSet,
    validation_set: DetectionSet | None,
    out_dir: Path,
    init: Init,
    extra: Mapping[str, Any],
) -> Path:
    """Train and write the bundle in `out_dir`; a finished detector is not trained again."""
    started, bundle = time.time(), MaskRCNNFolder(out_dir).detector
    if member().world_size > 1:
        raise ValueError(
            "backend 'detectron2' trains in one process: start it without torchrun, or use "
            "--backend torchvision"
        )
    check_images(train_set)
    run = RunState(run_mark(config, train_set, validation_set, init))
    if is_finished(bundle, run.mark):
        return bundle
    networks, report = start_network(config, init)
    print(report, flush=True)
    out_dir.mkdir(parents=True, exist_ok=True)
    steps = _run_trainer(networks, config, train_set, validation_set, out_dir, run)
    tensors = networks.kept.state_dict()
    if run.best.step >= 0:
        tensors = read_bundle(out_dir / _BEST_NAME, "maskrcnn")[0]
    facts = training_facts(config, train_set, run.mark, report, started, out_dir)
    facts |= {"detectron2": importlib.metadata.version("detectron2"), "steps": steps}
    facts |= kept(run.best, config.train)
    write_bundle(bundle, tensors, bundle_metadata(config, {**facts, **extra}))
    for leftover in [
        *out_dir.glob("model_*.pth"),
        out_dir / "last_checkpoint",
        out_dir / _BEST_NAME,
    ]:
        leftover.unlink(missing_ok=True)
    return bundle


def _run_trainer(
    networks: Networks,
    config: DetectorConfig,
    train_set: DetectionSet,
    validation_set: DetectionSet | None,
    out_dir: Path,
    run: RunState,
) -> int:
    """Train in place with detectron2's `SimpleTrainer`, resuming; return the number of steps."""
    from detectron2.engine import SimpleTrainer

    records = coco_records(train_set, out_dir / "train_coco.json", f"cxrloc_{run.mark[:16]}")
    draws = Draws(records, train_set, config)
    network = networks.trained
    optimizer = make_optimizer(network, config.train, network.backbone.bottom_up)
    _clip_gradients(optimizer, config.train.clip_norm)
    trainer = SimpleTrainer(network, training_loader(draws), optimizer)
    checkpointer = tensors_only_checkpointer(
        network, out_dir, trainer=trainer, run=run, **networks.state
    )
    hooks, bar = _hooks(config, draws, validation_set, checkpointer, run, networks, optimizer)
    trainer.register_hooks(hooks)
    if checkpointer.has_checkpoint():
        checkpointer.resume_or_load("", resume=True)
        draws.first_step = trainer.iter + 1
        print(f"resumed at step {draws.first_step} of {draws.steps}", flush=True)
    trainer.reset_data_loader(lambda: training_loader(draws))
    trainer.register_hooks([_writer(out_dir, draws.first_step)])
    bar.update(draws.first_step)
    try:
        trainer.train(draws.first_step, draws.steps)
    except FloatingPointError as error:
        raise RuntimeError(
            f"{error}\nlower train.lr, raise train.warmup_steps or set train.precision to fp32"
        ) from error
    finally:
        bar.close()
    return draws.steps


def _clip_gradients(optimizer: torch.optim.Optimizer, limit: float) -> None:
    """Clip the norm over all parameters before every step (detectron2 clips each separately)."""
    if limit <= 0:
        return
    parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def clip(*_: Any) -> None:
        nn.utils.clip_grad_norm_(parameters, limit)

    optimizer.register_step_pre_hook(clip)


def _hooks(
    config: DetectorConfig,
    draws: Draws,
    validation_set: DetectionSet | None,
    checkpointer: Any,
    run: RunState,
    networks: Networks,
    optimizer: torch.optim.Optimizer,
) -> tuple[list[Any], Any]:
    from detectron2.engine import hooks

    def seed(trainer: Any) -> None:
        seed_step(config, trainer.iter)

    bar: tqdm[object] = progress(None, Path(checkpointer.save_dir).name, draws.steps, unit="step")

    def show(trainer: Any) -> None:
        bar.update()
        loss = trainer.storage.latest().get("total_loss", (math.nan, 0))[0]
        bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)

    def after_step(trainer: Any) -> None:
        networks.update()
        show(trainer)

    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: warmed_up_cosine(step, draws.steps, config.train.warmup_steps)
    )
    chosen = [
        hooks.IterationTimer(),
        hooks.CallbackHook(before_step=seed, after_step=after_step),
        hooks.LRScheduler(optimizer, schedule),
    ]
    if validation_set:
        every = config.train.validate_every * draws.steps_per_epoch
        score = _Validation(config, validation_set, checkpointer, run, networks)
        chosen.append(hooks.EvalHook(every, score))
    # after the validation, so that a checkpoint includes the best score so far
    period = config.train.checkpoint_every
    chosen.append(hooks.PeriodicCheckpointer(checkpointer, period, max_to_keep=1))
    return chosen, bar


@dataclass
class _Validation:
    """Score the network and save its best weights on disk, where they survive a kill."""

    config: DetectorConfig
    data: DetectionSet
    checkpointer: Any
    run: RunState
    networks: Networks

    def __call__(self) -> dict[str, float]:
        network, config = self.networks.kept, self.config
        predictor = Detectron2Predictor(network, config.diseases, config.size)
        scores = validation_scores(predictor, self.data)
        self.networks.trained.train()
        step = min(self.checkpointer.checkpointables["trainer"].iter + 1, self._steps())
        tqdm.write(scores_line(step, scores))
        if self.run.best.better(scores.average_precision, step):
            best = Path(self.checkpointer.save_dir) / _BEST_NAME
            write_bundle(best, network.state_dict(), bundle_metadata(config, {"step": step}))
        return {
            "validation/ap": scores.average_precision,
            "validation/mean_iou": scores.mean_iou,
        }

    def _steps(self) -> int:
        return int(self.checkpointer.checkpointables["trainer"].max_iter)


def _writer(out_dir: Path, first_step: int) -> Any:
    """Write loss.jsonl and TensorBoard; drop rows after the resumed step, which are repeated."""
    from detectron2.engine import hooks
    from detectron2.utils.events import JSONWriter, TensorboardXWriter

    path = out_dir / "loss.jsonl"
    if path.is_file():
        rows = path.read_text().splitlines(keepends=True)
        path.write_text("".join(r for r in rows if json.loads(r)["iteration"] < first_step))
    board = TensorboardXWriter(str(out_dir / "tensorboard"), purge_step=first_step or None)
    return hooks.PeriodicWriter([JSONWriter(str(path)), board], period=_LOG_EVERY)
