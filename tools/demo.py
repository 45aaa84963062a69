"""Run the whole main job on a phantom data set: at most 10 minutes on two CPU cores, no data.

    python tools/demo.py --out demo

Every step is one of the tools, run by the command that it prints. A step that has finished is not
done again: type the same command after an interruption and it goes on from there.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
CONFIGS = Path(os.path.relpath(TOOLS.parent / "configs"))
PATIENTS, SEED, HOLD_OUT_FOLD = 600, 0, 0
Step = tuple[str, list[str]]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything made")
    out: Path = parser.parse_args().out
    began = time.monotonic()
    steps = [*data_steps(out), *model_steps(out)]
    for number, (title, words) in enumerate(steps, start=1):
        run_step(f"{number}/{len(steps) + 1}  {title}", words)
    title, words = predict_step(out)
    run_step(f"{len(steps) + 1}/{len(steps) + 1}  {title}", words)
    print(closing_words(out, time.monotonic() - began))
    return 0


def data_steps(out: Path) -> list[Step]:
    """Draw the films, then prepare them."""
    drawn, prepared = str(out / "phantom"), str(out / "prepared")
    size = ["--patients", str(PATIENTS), "--image_size", "512", "--seed", str(SEED)]
    return [
        (
            "Draw a phantom data set in NIH's own layout",
            ["make_phantom.py", "--out", drawn, *size],
        ),
        (
            "Prepare it: check every film, split by patient",
            ["prepare_data.py", "--dataset", "nih", "--root", drawn, "--out", prepared],
        ),
    ]


def model_steps(out: Path) -> list[Step]:
    """Train the gate and the detector, box the films of the hold-out fold, compare."""
    gate, detector, prepared = out / "gate", out / "maskrcnn", str(out / "prepared")
    classifier_config = str(CONFIGS / "classifier_phantom_demo.yaml")
    detector_config = str(CONFIGS / "maskrcnn_phantom_demo.yaml")
    data = ["--data.prepared", prepared]
    cam = ["--localizer", "grad_cam", "--run", str(gate), "--prepared", prepared]
    return [
        (
            "Train the gate, a ResNet-18 from scratch",
            ["train_classifier.py", "--config", classifier_config, *data, "--out", str(gate)],
        ),
        (
            "Train the Mask R-CNN from scratch, box the held-out films",
            ["train_maskrcnn.py", "--config", detector_config, *data, "--out", str(detector)],
        ),
        (
            "Box the held-out films by Grad-CAM",
            ["localize.py", *cam, "--folds", f"[{HOLD_OUT_FOLD}]", "--out", f"{out}/grad_cam.json"],
        ),
        ("Compare both with the controls on the held-out boxes", compare_words(out)),
    ]


def compare_words(out: Path) -> list[str]:
    files = {
        "grad_cam": out / "grad_cam.json",
        "mask_rcnn": out / "maskrcnn" / "mask_rcnn.json",
        "mask_rcnn_mask_box": out / "maskrcnn" / "mask_rcnn_mask_box.json",
    }
    named = [f"{name}={path}" for name, path in files.items()]
    truth, gate = str(truth_path(out)), str(out / "gate" / "gate.csv")
    words = ["compare_localizers.py", "--ground-truth", truth, "--predictions", *named]
    return [*words, "--gate", gate, "--out", str(out / "comparison")]


def predict_step(out: Path) -> Step:
    bundles = {
        "--classifier": out / "gate" / f"fold{HOLD_OUT_FOLD}" / "classifier.safetensors",
        "--maskrcnn": out / "maskrcnn" / f"fold{HOLD_OUT_FOLD}" / "maskrcnn.safetensors",
    }
    words = ["predict.py", *map(str, films_to_show(out))]
    words += [word for option, path in bundles.items() for word in (option, str(path))]
    return "Predict: classify and box ten held-out films", [*words, "--out", f"{out}/predictions"]


def run_step(title: str, words: list[str]) -> None:
    """Run one tool and let its output through; a failed step ends the demo with a message."""
    print(f"\n=== {title}\n$ {shlex.join(['python', f'tools/{words[0]}', *words[1:]])}", flush=True)
    began = time.monotonic()
    done = subprocess.run([sys.executable, str(TOOLS / words[0]), *words[1:]], check=False)
    if done.returncode != 0:
        sys.exit(f"demo: the step above ended with status {done.returncode}; see its message")
    print(f"--- {time.monotonic() - began:.0f} s", flush=True)


def truth_path(out: Path) -> Path:
    return out / "prepared" / f"ground_truth_fold{HOLD_OUT_FOLD}.json"


def films_to_show(out: Path) -> list[Path]:
    """Held-out films: the first boxed one of every disease, and two without a finding."""
    truth = json.loads(truth_path(out).read_text())
    first: dict[int, int] = {}
    for annotation in truth["annotations"]:
        first.setdefault(annotation["category_id"], annotation["image_id"])
    with (out / "phantom" / "Data_Entry_2017.csv").open(newline="") as handle:
        labels = {row["Image Index"]: row["Finding Labels"] for row in csv.DictReader(handle)}
    names = {image["id"]: image["file_name"] for image in truth["images"]}
    boxed = [names[image] for image in dict.fromkeys(first.values())]
    normal = [name for name in names.values() if labels[name] == "No Finding"]
    return [out / "phantom" / "images" / name for name in boxed + normal[:2]]


def closing_words(out: Path, seconds: float) -> str:
    """The figures that say whether it worked, and where to look."""
    gate = json.loads((out / "gate" / f"fold{HOLD_OUT_FOLD}" / "metrics.json").read_text())
    compared = json.loads((out / "comparison" / "summary.json").read_text())
    lines = [
        f"\nDone in {seconds / 60:.1f} minutes. Phantom films only. Research use only.",
        f"gate        macro AUC {gate['test']['macro_auc']:.3f} on held-out patients",
    ]
    for row in compared["differences"]:
        if row["localizer"] == "mask_rcnn":
            lines.append(f"mask_rcnn   macro mean IoU minus {row['minus']}: {figure(row['macro'])}")
    return "\n".join([
        *lines,
        f"compare     {out}/comparison: mean_iou.md, acc_iou.md, differences.md, iou_boxplots.png",
        f"look        {out}/predictions: a picture with boxes and one with heat maps for each film",
        f"logs        tensorboard --logdir {out}",
    ])  # fmt: skip


def figure(macro: dict[str, float]) -> str:
    return f"{macro['value']:.3f} (95 % interval {macro['low']:.3f} to {macro['high']:.3f})"


if __name__ == "__main__":
    sys.exit(main())
