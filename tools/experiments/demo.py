r"""Run the whole pipeline and write its report: on a phantom data set, or on NIH's images.

    cxrloc demo
    cxrloc demo --out runs/demo
    cxrloc demo --nih NIH --weights resnet18.pth --out runs/nih_subset

Without --nih it draws its own images and takes minutes on two CPU cores. With --nih, a folder in
NIH ChestX-ray14's own layout, it takes hours without a GPU; --weights names a file of ImageNet
weights of a ResNet-18 (default: torchvision's are downloaded).

Every step is another verb of `cxrloc`, run by the command that is printed. The same command resumes
after an interruption: a finished training is not repeated.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrloc.classification.run_folder import RunFolder
from cxrloc.configs.command_line import run_tool, tool_parser
from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.datasets.files.runs.locks import while_holding, writes_folder
from cxrloc.datasets.prepared.folder import PreparedFolder, load_prepared
from cxrloc.detection.run_config import MaskRCNNFolder
from cxrloc.tools.experiments.steps import run_step

TOOLS = Path(__file__).resolve().parents[1]
CONFIGS = Path(os.path.relpath(TOOLS.parent / "configs"))
PATIENTS, SEED, HOLD_OUT_FOLD = 600, 0, 0
FOLDS = 5
Step = tuple[str, list[str]]  # its title, and the verb of `cxrloc` with its arguments


@dataclass(frozen=True)
class DemoRun:
    """What is run: the phantom with one held-out fold, or NIH's images with every fold in turn.

    Attributes:
        out: folder for everything made.
        nih: folder of NIH's files; None draws the phantom.
        weights: ImageNet weights file; None takes what the config names.
    """

    out: Path
    nih: Path | None = None
    weights: Path | None = None

    @property
    def root(self) -> Path:
        """The data set in NIH's layout."""
        return self.nih or self.out / "phantom"

    @property
    def prepared(self) -> str:
        return str(self.out / "prepared")

    @property
    def truth(self) -> Path:
        """The boxes that are scored: out of fold, so of every fold that was a test fold."""
        files = PreparedFolder(Path(self.prepared))
        return files.ground_truth if self.nih else files.ground_truth_of(HOLD_OUT_FOLD)

    @property
    def gate(self) -> RunFolder:
        return RunFolder(self.out / "gate")

    @property
    def detector(self) -> MaskRCNNFolder:
        return MaskRCNNFolder(self.out / "maskrcnn")

    def config(self, kind: str) -> str:
        return str(CONFIGS / (f"nih/{kind}.yaml" if self.nih else f"phantom/{kind}_demo.yaml"))

    @property
    def model_arguments(self) -> list[str]:
        weights = ["--model.weights", str(self.weights)] if self.weights else []
        return ["--data.prepared", self.prepared, *weights]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool("demo", lambda: _run(_parse(argv)))


@while_holding(lambda demo: writes_folder(demo.out))
def _run(demo: DemoRun) -> None:
    began = time.monotonic()
    steps = [*data_steps(demo), *training_steps(demo), *box_steps(demo), compare_step(demo)]
    for number, (title, arguments) in enumerate(steps, start=1):
        run_step(f"{number}/{len(steps) + 1}  {title}", arguments)
    title, arguments = predict_step(demo)
    run_step(f"{len(steps) + 1}/{len(steps) + 1}  {title}", arguments)
    print(closing_text(demo, time.monotonic() - began))


def _parse(argv: Sequence[str] | None) -> DemoRun:
    parser = tool_parser(__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("demo"), help="folder for everything made (default: demo)"
    )
    parser.add_argument("--nih", type=Path, help="folder of NIH's files, instead of the phantom")
    parser.add_argument("--weights", type=Path, help="ImageNet weights of a ResNet-18 (with --nih)")
    arguments = parser.parse_args(argv)
    if arguments.weights is not None and arguments.nih is None:
        parser.error("--weights needs --nih: the phantom's networks start from scratch")
    for name in ("nih", "weights"):
        path = getattr(arguments, name)
        if path is not None and not path.exists():
            parser.error(f"--{name} {path} does not exist")
    return DemoRun(arguments.out, arguments.nih, arguments.weights)


def data_steps(demo: DemoRun) -> list[Step]:
    """Draw the images if there are none, then prepare them."""
    prepare = ["prepare", "--dataset", "nih", "--root", str(demo.root)]
    prepare_step = (
        "Prepare the images: check every one, split by patient",
        [*prepare, "--out", demo.prepared],
    )
    if demo.nih:
        return [prepare_step]
    size = ["--patients", str(PATIENTS), "--image-size", "512", "--seed", str(SEED)]
    draw = ["make-phantom", "--out", str(demo.root), *size]
    return [("Draw a phantom data set in NIH's own layout", draw), prepare_step]


def training_steps(demo: DemoRun) -> list[Step]:
    """Train the gate and the detector; the detector boxes its test images at once."""
    folds = ["--folds", str(FOLDS)] if demo.nih else []
    return [
        (
            f"Train the gate, a {'ResNet-18' if demo.nih else 'small CNN'}",
            [
                "train-gate",
                "--config",
                demo.config("classifier"),
                *demo.model_arguments,
                "--out",
                str(demo.gate.path),
            ],
        ),
        (
            "Train the Mask R-CNN, box the images of its test folds",
            [
                "train-maskrcnn",
                "--config",
                demo.config("maskrcnn"),
                *demo.model_arguments,
                *folds,
                "--out",
                str(demo.detector.path),
            ],
        ),
    ]


def box_steps(demo: DemoRun) -> list[Step]:
    """Grad-CAM boxes and maps out of fold; with all folds also with thresholds tuned on others."""
    out = demo.out
    folds = [] if demo.nih else ["--folds", str(HOLD_OUT_FOLD)]
    gate = ["--gate", str(demo.gate.path), "--prepared", demo.prepared, "--images", "all", *folds]

    def box(localizer: str, name: str, *more: str) -> list[str]:
        arguments = ["localize", "--localizer", localizer, *gate, *more]
        return [*arguments, "--out", str(out / f"{name}.json")]

    maps = {name: str(out / f"{name}.maps.safetensors") for name in maps_of(demo)}
    removal = ["--remove-markers", "mask"]
    steps = [
        (
            f"Box the images by {name}, keep the maps, also of images without letters",
            box(name, name, "--maps", path, *removal),
        )
        for name, path in maps.items()
    ]
    if demo.nih is None:  # one held-out fold: there are no other folds' maps to tune on
        return steps
    rules = str(out / "cam_rules.yaml")
    tune = [
        "tune-cam",
        "--maps",
        maps["grad_cam"],
        "--ground-truth",
        str(demo.truth),
    ]
    return [
        *steps,
        ("Tune the boxes of Grad-CAM on the other folds' boxes only", [*tune, "--out", rules]),
        (
            "Box the images by Grad-CAM with the tuned rules",
            box("grad_cam", "grad_cam_tuned", "--cam-rules", rules),
        ),
    ]


def maps_of(demo: DemoRun) -> tuple[str, ...]:
    """Localizers whose maps are kept."""
    return ("grad_cam", "grad_cam_aligned") if demo.nih else ("grad_cam",)


def compare_step(demo: DemoRun) -> Step:
    out = demo.out
    boxes = [*maps_of(demo), *(["grad_cam_tuned"] if demo.nih else [])]
    files = {name: out / f"{name}.json" for name in boxes}
    files |= {"mask_rcnn": demo.detector.boxes, "mask_rcnn_mask_box": demo.detector.mask_boxes}
    arguments = ["compare", "--ground-truth", str(demo.truth)]
    arguments += ["--predictions", *(f"{name}={path}" for name, path in files.items())]
    arguments += ["--maps", *(f"{name}={out / name}.maps.safetensors" for name in maps_of(demo))]
    arguments += ["--gate", str(demo.gate.gate), "--out", str(out / "comparison")]
    return "Compare all with the controls on the same boxes, write the report", arguments


def predict_step(demo: DemoRun) -> Step:
    bundles = {
        "--gate": demo.gate.fold(HOLD_OUT_FOLD).classifier,
        "--maskrcnn": demo.detector.fold(HOLD_OUT_FOLD).detector,
    }
    arguments = ["predict", *map(str, images_to_show(demo))]
    arguments += [word for option, path in bundles.items() for word in (option, str(path))]
    arguments += ["--out", str(demo.out / "predictions")]
    return "Predict: classify and box some held-out images", arguments


def images_to_show(demo: DemoRun) -> list[Path]:
    """Images of the hold-out fold: the first boxed one of every disease, and two without a finding.

    Their paths come from the prepared index: copies may have other endings than NIH's lists say.
    """
    prepared = load_prepared(Path(demo.prepared))
    held_out = [r for r in prepared.radiographs if prepared.folds[r.image_id] == HOLD_OUT_FOLD]
    first = {d: r for r in reversed(held_out) for d in r.boxed}
    boxed = list(
        {first[d].image_id: first[d] for d in prepared.boxed_diseases if d in first}.values()
    )
    normal = [r for r in held_out if not r.positives]
    return [r.path for r in [*boxed, *normal[:2]] if r.path is not None]


def closing_text(demo: DemoRun, seconds: float) -> str:
    """The figures that say whether it worked, and where to look."""
    out = demo.out
    folder = demo.gate if demo.nih else demo.gate.fold(HOLD_OUT_FOLD)
    gate = json.loads(folder.metrics.read_text())
    compared = json.loads((out / "comparison" / "summary.json").read_text())
    what = f"{demo.nih}" if demo.nih else "Phantom images only"
    lines = [
        f"\nDone in {seconds / 60:.1f} minutes. {what}. {RESEARCH_USE}.",
        f"gate        macro AUC {gate['test']['macro_auc']:.3f} on held-out patients",
        f"answer      {compared['headline']['sentence']}",
    ]
    lines += [
        f"report      {out}/comparison/report.html, and its tables as CSV, Markdown and LaTeX",
        f"look        {out}/predictions: a picture with boxes and one with heat maps of each image",
        f"logs        tensorboard --logdir {out}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
