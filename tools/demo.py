"""Run the whole main job on a phantom data set: about 10 minutes on two CPU cores, no data needed.

    python tools/demo.py --out demo

Every step is one of the tools, run by the command that it prints. A step that has finished is not done
again: type the same command after an interruption and it goes on from there.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
CONFIGS = TOOLS.parent / "configs"
PATIENTS, SEED, HOLD_OUT_FOLD = 620, 1, 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything made")
    out: Path = parser.parse_args().out
    began = time.monotonic()
    steps = training_steps(out)
    for number, (title, words) in enumerate(steps, start=1):
        run_step(f"{number}/{len(steps) + 1}  {title}", words)
    films = [str(path) for path in films_to_show(out)]
    run_step(f"{len(steps) + 1}/{len(steps) + 1}  Predict: classify and box eight held-out films", [
        "predict.py", *films, "--classifier", str(out / "gate/fold0/classifier.safetensors"),
        "--maskrcnn", str(out / "maskrcnn/fold0/maskrcnn.safetensors"), "--out", str(out / "predictions"),
    ])  # fmt: skip
    print(closing_words(out, time.monotonic() - began))
    return 0


def training_steps(out: Path) -> list[tuple[str, list[str]]]:
    """Title and command of every step up to the comparison; test films are those of one fold."""
    prepared = str(out / "prepared")
    truth = str(out / f"prepared/ground_truth_fold{HOLD_OUT_FOLD}.json")
    return [
        ("Draw a phantom data set in NIH's own layout", [
            "make_phantom.py", "--out", str(out / "phantom"), "--patients", str(PATIENTS),
            "--image_size", "512", "--seed", str(SEED)]),
        ("Prepare: check every film, split by patient", [
            "prepare_data.py", "--dataset", "nih", "--root", str(out / "phantom"), "--out", prepared]),
        ("Train the gate (ResNet-18, from scratch)", [
            "train_classifier.py", "--config", str(CONFIGS / "classifier_phantom_demo.yaml"),
            "--data.prepared", prepared, "--out", str(out / "gate")]),
        ("Train the Mask R-CNN", [
            "train_maskrcnn.py", "--config", str(CONFIGS / "maskrcnn_phantom_demo.yaml"),
            "--data.prepared", prepared, "--model.weights", str(out / "gate"),
            "--out", str(out / "maskrcnn")]),
        ("Box the held-out films by Grad-CAM", [
            "localize.py", "--localizer", "grad_cam", "--run", str(out / "gate"),
            "--prepared", prepared, "--folds", f"[{HOLD_OUT_FOLD}]",
            "--out", str(out / "grad_cam.json")]),
        ("Compare both with the controls on the held-out boxes", [
            "compare_localizers.py", "--ground-truth", truth, "--predictions",
            f"grad_cam={out}/grad_cam.json", f"mask_rcnn={out}/maskrcnn/mask_rcnn.json",
            "--gate", str(out / "gate/gate.csv"), "--out", str(out / "comparison")]),
    ]  # fmt: skip


def run_step(title: str, words: list[str]) -> None:
    """Run one tool and let its output through; a failed step ends the demo with its exit status."""
    print(f"\n=== {title}\n$ {shlex.join(['python', f'tools/{words[0]}', *words[1:]])}", flush=True)
    began = time.monotonic()
    done = subprocess.run([sys.executable, str(TOOLS / words[0]), *words[1:]], check=False)
    if done.returncode != 0:
        sys.exit(f"demo: the step above ended with status {done.returncode}; see its message")
    print(f"--- {time.monotonic() - began:.0f} s", flush=True)


def films_to_show(out: Path, with_boxes: int = 6, without: int = 2) -> list[Path]:
    """A few held-out films: some that have boxes and some without a finding."""
    truth = json.loads((out / f"prepared/ground_truth_fold{HOLD_OUT_FOLD}.json").read_text())
    boxed_ids = {annotation["image_id"] for annotation in truth["annotations"]}
    labels = read_labels(out / "phantom" / "Data_Entry_2017.csv")
    names = [(image["file_name"], image["id"] in boxed_ids) for image in truth["images"]]
    boxed = [name for name, has_box in names if has_box][:: max(1, len(boxed_ids) // with_boxes)]
    normal = [name for name, _ in names if labels[name] == "No Finding"]
    return [out / "phantom" / "images" / n for n in boxed[:with_boxes] + normal[:without]]


def read_labels(path: Path) -> dict[str, str]:
    with path.open(newline="") as handle:
        return {row["Image Index"]: row["Finding Labels"] for row in csv.DictReader(handle)}


def closing_words(out: Path, seconds: float) -> str:
    """The figures that say whether it worked, and where to look."""
    gate = json.loads((out / "gate/fold0/metrics.json").read_text())
    return "\n".join([
        "", f"Done in {seconds / 60:.1f} minutes. Research use only, never a diagnosis.",
        f"gate: macro AUC {gate['test']['macro_auc']:.3f} on held-out patients",
        f"tables and boxplots   {out}/comparison/  (start with mean_iou.md, iou_boxplots.png)",
        f"boxed films           {out}/predictions/",
        f"training logs         tensorboard --logdir {out}",
    ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
