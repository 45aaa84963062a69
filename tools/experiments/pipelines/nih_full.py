r"""Train and compare on all of NIH ChestX-ray14, by its official split: one command for a GPU.

    cxrloc nih-full --nih NIH --out runs/nih_full
    cxrloc nih-full --nih NIH --out runs/nih_full --dry-run
    cxrloc nih-full --nih NIH --weights none --processes 2

The gate learns from the official train part and so has never seen a patient with a box. Each of
five Mask R-CNNs boxes the patients that it has not seen. Both are compared on the official test
part: all boxes, and false boxes on the images without any.

Every step is another verb of `cxrloc`, run by the command that is printed. The same command goes on
after an interruption: what is finished is not done again. --dry-run does every step on all images
in OUT/dry_run, at 64 px and with two optimizer steps each: it finds what would stop the real run
before a GPU is rented, and its figures mean nothing. docs/how-to/all_of_nih.md has times and sizes.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from cxrloc.classification.run_folder import RunFolder
from cxrloc.configs.command_line import load_config, run_tool
from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.datasets.files.runs.locks import while_holding, writes_folder
from cxrloc.datasets.prepared.folder import PreparedFolder, load_prepared
from cxrloc.detection.run_config import MaskRCNNFolder
from cxrloc.tools.experiments.pipelines.steps import Step, prepare_step, run_steps

CONFIGS = Path(os.path.relpath(Path(__file__).resolve().parents[3] / "configs" / "nih"))
DRY_SIZE, DRY_STEPS = 64, 2
SHOWN = 6  # images of the last step


@dataclass(frozen=True)
class NihFullConfig:
    """One run.

    Attributes:
        nih: folder of NIH's files, in its own layout.
        out: folder for everything made.
        dry_run: do every step with two optimizer steps at 64 px, in OUT/dry_run.
        weights: initial weights of both networks instead of those that their configs name: a file,
            imagenet or none.
        cache: folder for the decoded pixels, 29.4 GB (default: with the rest).
        processes: GPUs, or processes, that train together, at most; 0 takes all GPUs. A training
            takes as many of them as share its batch evenly.
        device: auto, cpu or cuda.
    """

    nih: Path
    out: Path = Path("runs/nih_full")
    dry_run: bool = False
    weights: str = ""
    cache: Path | None = None
    processes: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if not self.nih.is_dir():
            raise FileNotFoundError(f"--nih {self.nih} is no folder; expected that of NIH's files")
        if self.processes < 0:
            raise ValueError(f"--processes {self.processes}: expected 0 (all GPUs) or more")
        if self.weights not in ("", "none", "imagenet") and not Path(self.weights).is_file():
            raise FileNotFoundError(
                f"--weights {self.weights} does not exist; expected a file, imagenet or none"
            )

    @property
    def folder(self) -> Path:
        """The folder of what this run makes, without the prepared images."""
        return self.out / "dry_run" if self.dry_run else self.out

    @property
    def prepared(self) -> PreparedFolder:
        return PreparedFolder(self.out / "prepared")

    @property
    def gate(self) -> RunFolder:
        return RunFolder(self.folder / "gate")

    @property
    def detector(self) -> MaskRCNNFolder:
        return MaskRCNNFolder(self.folder / "maskrcnn")

    @property
    def cam(self) -> Path:
        """Boxes of Grad-CAM."""
        return self.folder / "grad_cam.json"

    @property
    def maps(self) -> Path:
        return self.folder / "grad_cam.maps.safetensors"

    @property
    def rules(self) -> Path:
        return self.folder / "grad_cam_rules.yaml"

    @property
    def tuned_cam(self) -> Path:
        return self.folder / "grad_cam_tuned.json"

    @property
    def report(self) -> Path:
        return self.folder / "comparison" / "report.html"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool("nih_full", lambda: _run(load_config(NihFullConfig, argv, __doc__)))


@while_holding(lambda config: writes_folder(config.out))
def _run(config: NihFullConfig) -> None:
    began = time.monotonic()
    steps = [
        prepare_step(config.nih, config.prepared),
        *training_steps(config),
        *cam_steps(config),
        compare_step(config),
    ]
    run_steps(steps, lambda: predict_step(config))
    print(closing_text(config, time.monotonic() - began))


def training_steps(config: NihFullConfig) -> list[Step]:
    """Train the gate, then the five detectors, which box the images of their test folds at once."""
    shared = ["--data.prepared", str(config.prepared.path), "--train.device", config.device]
    shared += ["--model.weights", config.weights] if config.weights else []
    cache = config.cache or (config.folder / "pixel_cache" if config.dry_run else None)
    shared += ["--data.cache", str(cache)] if cache else []
    if config.dry_run:
        shared += ["--train.epochs", "1", "--train.epoch_steps", str(DRY_STEPS)]
    size = str(DRY_SIZE)
    gate = ["train-gate", "--config", str(CONFIGS / "full_gate.yaml"), *shared]
    gate += ["--model.size", size] if config.dry_run else []
    detector = ["train-maskrcnn", "--config", str(CONFIGS / "full_maskrcnn.yaml"), *shared]
    detector += ["--size", size] if config.dry_run else []
    processes = config.processes or _gpus(config.device)
    return [
        Step(
            "Train the gate on the official train part",
            [*gate, "--out", str(config.gate.path)],
            processes=_sharing(CONFIGS / "full_gate.yaml", processes),
        ),
        Step(
            "Train five Mask R-CNNs, box the images of their test folds",
            [*detector, "--folds", "5", "--out", str(config.detector.path)],
            processes=_sharing(CONFIGS / "full_maskrcnn.yaml", processes),
        ),
    ]


def _sharing(training: Path, most: int) -> int:
    """The largest number of processes, at most so many, that share the batch of a config evenly."""
    batch = int(yaml.safe_load(training.read_text(encoding="utf-8"))["train"]["batch_size"])
    return max(n for n in range(1, most + 1) if batch % n == 0)


def cam_steps(config: NihFullConfig) -> list[Step]:
    """Grad-CAM as published, and with rules that were tuned on the boxes of other patients."""
    truth = config.prepared.ground_truth
    made_of = config.gate.classifier, truth
    localize = ["localize", "--localizer", "grad_cam", "--gate", str(config.gate.path)]
    localize += ["--prepared", str(config.prepared.path), "--images", "test"]
    localize += ["--device", config.device]
    maps = ["--maps", str(config.maps), "--remove-markers", "mask", "--out", str(config.cam)]
    tune = ["tune-cam", "--maps", str(config.maps), "--ground-truth", str(truth)]
    rules = ["--cam-rules", str(config.rules), "--out", str(config.tuned_cam)]
    return [
        Step(
            "Box the images of the official test part by Grad-CAM",
            [*localize, *maps],
            config.cam,
            made_of,
        ),
        Step(
            "Tune Grad-CAM's boxes for each fold on the other folds' patients",
            [*tune, "--out", str(config.rules)],
            config.rules,
            (config.maps, truth),
        ),
        Step(
            "Box the same images by Grad-CAM with the tuned rules",
            [*localize, *rules],
            config.tuned_cam,
            (*made_of, config.rules),
        ),
    ]


def compare_step(config: NihFullConfig) -> Step:
    files = {
        "grad_cam": config.cam,
        "grad_cam_tuned": config.tuned_cam,
        "mask_rcnn": config.detector.boxes,
        "mask_rcnn_mask_box": config.detector.mask_boxes,
    }
    truth = config.prepared.ground_truth_of_test
    arguments = ["compare", "--ground-truth", str(truth), "--predictions"]
    arguments += [f"{name}={path}" for name, path in files.items()]
    arguments += ["--maps", f"grad_cam={config.maps}", "--gate", str(config.gate.gate)]
    return Step(
        "Compare all with the controls on the same boxes, write the report",
        [*arguments, "--out", str(config.report.parent)],
        config.report,
        (truth, config.gate.gate, config.maps, *files.values()),
    )


def predict_step(config: NihFullConfig) -> Step:
    """Some boxed images that neither the gate nor the detector of fold 0 has seen."""
    prepared = load_prepared(config.prepared.path)
    boxed = [r for r in prepared.radiographs if r.boxes and prepared.folds[r.image_id] == 0]
    images = [str(r.path) for r in boxed[:SHOWN]]
    arguments = ["predict", *images, "--gate", str(config.gate.classifier), "--maskrcnn"]
    arguments += [str(config.detector.fold(0).detector), "--device", config.device]
    title = "Predict: classify and box some images"
    return Step(title, [*arguments, "--out", str(config.folder / "predictions")])


def _gpus(device: str) -> int:
    """Number of GPUs to train on; 1 without any, or if one of them is named."""
    if device not in ("auto", "cuda"):
        return 1
    import torch  # not for --help

    return max(torch.cuda.device_count(), 1)


def closing_text(config: NihFullConfig, seconds: float) -> str:
    """The figures, and where to look."""
    gate = json.loads(config.gate.metrics.read_text())["test"]
    auc = "undefined" if gate["macro_auc"] is None else f"{gate['macro_auc']:.3f}"
    compared = json.loads((config.report.parent / "summary.json").read_text())
    what = "Dry run: the figures mean nothing" if config.dry_run else str(config.nih)
    lines = [
        f"\nDone in {seconds / 60:.1f} minutes. {what}. {RESEARCH_USE}.",
        f"gate        macro AUC {auc} on {gate['images']:,} official test images",
        f"answer      {compared['headline']['sentence']}",
        f"report      {config.report}, and its tables as CSV, Markdown and LaTeX",
        f"look        {config.folder}/predictions",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
