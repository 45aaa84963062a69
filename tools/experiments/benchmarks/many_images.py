"""Images per second of `cxrloc predict`: by one process, by two, and on Spark, beside torchvision.

Every side is a command of its own on the same drawn files (hard links of a few), run once with few
images and once with all: the difference is the time of the images, the rest is the start. The sides
take turns.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from cxrloc.classification.bundle.classifier import save_classifier
from cxrloc.datasets.phantoms.nih import PhantomConfig, make_phantom
from cxrloc.tools.experiments.benchmarks.prediction import untrained_bundle

_FEW = 8
_LOOP = "from cxrloc.tools.experiments.benchmarks.many_images import main; main()"
_FIRST = "plain torchvision loop, 1 thread"


def many_images_table(images: int, size: int, repeats: int) -> str:
    """The table of all sides; the gate is an untrained ResNet-18, of which three diseases pass.

    Args:
        images: how many are predicted.
        size: side of the network's input, pixels.
        repeats: measured rounds.

    Raises:
        ValueError: for fewer images than can be timed.
        OSError: if a command fails.
    """
    if images < 4 * _FEW:
        raise ValueError(f"--images {images}: expected at least {4 * _FEW}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        drawn = sorted(make_phantom(PhantomConfig(patients=_FEW), folder / "drawn").rglob("*.png"))
        few, many = (_linked(drawn, folder / f"{count}", count) for count in (_FEW, images))
        gate = folder / "classifier.safetensors"
        save_classifier(gate, untrained_bundle(size))
        sides = _sides(gate, size)
        times: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
        for _ in range(repeats):
            for side, words in sides.items():
                start, whole = (_seconds(words, files, folder) for files in (few, many))
                times[side].append((start, (images - _FEW) / max(whole - start, 1e-3)))
    rates = {side: statistics.median(rate for _, rate in pairs) for side, pairs in times.items()}
    lines = [f"{images} drawn images, ResNet-18 at {size} px, medians of {repeats}", _HEAD]
    for side, pairs in times.items():
        start = statistics.median(seconds for seconds, _ in pairs)
        ratio = rates[side] / rates[_FIRST]
        lines.append(f"{side:48s} {rates[side]:9.2f} {ratio:8.2f} {start:10.1f}")
    return "\n".join(lines)


_HEAD = f"{'':48s} {'images/s':>9s} {'ratio':>8s} {f's for {_FEW}':>10s}"


def _sides(gate: Path, size: int) -> Mapping[str, Sequence[str]]:
    predict = ["-m", "cxrloc.tools.cli", "predict", "--any-image", "--gate", str(gate)]
    one, two = ["--workers", "1"], ["--workers", "2"]
    spark = ["--engine", "spark", "--master", "local[2]"]
    return {
        _FIRST: ["-c", _LOOP, str(size)],
        "predict, 1 process, JSON and pictures": [*predict, *one],
        "predict, 1 process, JSON": [*predict, *one, "--write", "json"],
        "predict, 1 process, table": [*predict, *one, "--write", "table"],
        "predict, 2 processes, table": [*predict, *two, "--write", "table"],
        "predict, Spark local[2], table": [*predict, *spark, "--write", "table"],
    }


def _seconds(words: Sequence[str], files: Path, folder: Path) -> float:
    """Wall seconds of a command on the images of a folder."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        more = ["--out", f"{out}/out"] if words[0] == "-m" else []
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *words, str(files), *more],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        spent = time.perf_counter() - began
    if done.returncode:
        raise OSError(f"{' '.join(words)} failed: {done.stderr.strip()}")
    return spent


def _linked(drawn: Sequence[Path], folder: Path, count: int) -> Path:
    """A folder of `count` images, which are hard links of the drawn ones."""
    folder.mkdir()
    for number in range(count):
        os.link(drawn[number % len(drawn)], folder / f"{number:07d}.png")
    return folder


def main() -> None:
    """Classify the images of a folder as tutorials do: PIL, torchvision's transforms, ResNet-18."""
    import torch
    from PIL import Image
    from torchvision import models, transforms

    torch.set_num_threads(1)
    size = int(sys.argv[1])
    network = models.resnet18(num_classes=8).eval()
    steps = transforms.Compose([transforms.Resize((size, size)), transforms.ToTensor()])
    with torch.inference_mode():
        for path in sorted(Path(sys.argv[2]).iterdir()):
            image = Image.open(path).convert("RGB")
            print(path.name, torch.sigmoid(network(steps(image)[None]))[0].tolist())
