r"""Measure speed as a ratio: the sides take turns within one run.

    cxrloc benchmark index --root NIH
    cxrloc benchmark predict --size 1024 --gate classifier.safetensors
    cxrloc benchmark compare --images 15000
    cxrloc benchmark train --architecture resnet50 --size 512 --batch 32

index: NIH's 112,120 rows, against only reading its CSV.

cam: all maps in closed form, against one forward pass and against a backward pass for each disease.

precision: a training step in bf16, against fp32.

train: images per second of training and prediction on the GPU, if there is one, against a plain
torchvision loop; what a training will take on a card before it is begun.

data: images per second from raw and PNG shards, against PNG files read the textbook way, at 224,
256 and 512 px with 0 to 2 workers, and what comparing all hashes of the shards takes, once; phantom
images without --root.

bootstrap: the intervals of a comparison of NIH's size, against the means alone in a loop over
resamples.

compare: a whole comparison of drawn files (3 localizers, 10 boxes per image), against one with a
fifth of the images; --out keeps the files.

fuzz: 20,000 files with damage or absurd values, of every kind that is loaded, and how often each
loader refused them in one sentence; --mutations and --seed choose others.

damage: 1,000 damaged images (PNG, JPEG, DICOM in six syntaxes), and how many were read with other
pixels without a word although a decoder complained of them; drawn images without --root.

node: a DICOM node that is killed at 20 random moments while four callers send it 500 images, or
while it takes them up from the server of --dicomweb; how many are answered, and how many twice.

many: images per second of `cxrloc predict` by one process, by two, and on Spark, with and without
pictures, beside a plain torchvision loop.

predict: a prediction in every runtime, as a whole and stage by stage, against the grad-cam package,
captum, torchvision's Mask R-CNN and the textbook way; --gate takes a trained gate instead of an
untrained one; INT8 is slower with it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads cost 5 x

from cxrloc.classification.run_folder import bundle_at
from cxrloc.configs.command_line import run_tool, tool_parser
from cxrloc.tools.experiments.benchmarks.computations import BENCHMARKS

if TYPE_CHECKING:
    from cxrloc.datasets.radiograph import Radiograph
    from cxrloc.tools.experiments.benchmarks.timing import Sides

NODE_IMAGES, NODE_KILLS = 500, 20
DATA_SIZES, DATA_WORKERS, DATA_IMAGES = (224, 256, 512), (0, 1, 2), 256
DAMAGED_IMAGES = 40
_WHAT = (*BENCHMARKS, "compare", "damage", "data", "fuzz", "many", "node", "predict", "train")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool("benchmark", lambda: _run(_parser().parse_args(argv)), "nothing is kept")


def _parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    parser.add_argument(
        "what",
        metavar="WHAT",
        choices=_WHAT,
        help=f"{', '.join(_WHAT[:-1])} or {_WHAT[-1]}",
    )
    parser.add_argument("--root", type=Path, help="NIH ChestX-ray14's folder (index, data, damage)")
    parser.add_argument(
        "--gate",
        type=Path,
        help="bundle or run folder (node); with INT8 weights next to it (predict)",
    )
    parser.add_argument(
        "--images",
        type=int,
        metavar="N",
        help="images to compare on (compare; default: 15000) or to predict (many; 200)",
    )
    parser.add_argument(
        "--architecture",
        default="resnet18",
        help="torchvision's network (train; default: resnet18)",
    )
    parser.add_argument(
        "--batch", type=int, default=16, metavar="N", help="images of a step (train; default: 16)"
    )
    parser.add_argument(
        "--mutations",
        type=int,
        metavar="N",
        help="of files (fuzz, default: 20000; damage, default: 1000)",
    )
    seed = "of mutations and kills (fuzz, damage, node)"
    parser.add_argument("--seed", type=int, default=0, metavar="N", help=seed)
    store = "DICOMweb server to test with, which gets 500 drawn images and their results (node)"
    parser.add_argument("--dicomweb", metavar="URL", help=store)
    parser.add_argument("--out", type=Path, help="folder that keeps the drawn files (compare)")
    parser.add_argument(
        "--size", type=int, default=512, metavar="PX", help="input side in pixels (default: 512)"
    )
    parser.add_argument(
        "--repeats", type=int, default=5, metavar="N", help="measured rounds (default: 5)"
    )
    return parser


def _run(arguments: argparse.Namespace) -> int:
    if arguments.what == "data":
        data_table(arguments)
    elif arguments.what == "compare":
        from cxrloc.tools.experiments.benchmarks.comparison import comparison_table

        print(comparison_table(arguments.images or 15_000, arguments.out))
    elif arguments.what == "many":
        from cxrloc.tools.experiments.benchmarks.many_images import many_images_table

        print(many_images_table(arguments.images or 200, arguments.size, arguments.repeats))
    elif arguments.what == "train":
        from cxrloc.tools.experiments.benchmarks.training import training_table

        if arguments.batch < 1:
            raise ValueError(f"--batch {arguments.batch}: expected at least 1 image")
        size, batch = arguments.size, arguments.batch
        print(training_table(arguments.architecture, size, batch, arguments.repeats))
    elif arguments.what == "node":
        return node_table(arguments)
    elif arguments.what == "fuzz":
        from cxrloc.tools.experiments.benchmarks.fuzz.targets import fuzz_table

        return fuzz_table(arguments.mutations or 20_000, arguments.seed)
    elif arguments.what == "damage":
        return damage_of(arguments)
    elif arguments.what == "predict":
        from cxrloc.tools.experiments.benchmarks.prediction import prediction_tables

        gate = None if arguments.gate is None else bundle_at(arguments.gate)
        print(prediction_tables(arguments.size, arguments.repeats, gate))
    else:
        report(BENCHMARKS[arguments.what](arguments), arguments.repeats)
    return 0


def node_table(arguments: argparse.Namespace) -> int:
    """Print what became of the images of a node that is killed; 1 if one was lost or sent twice."""
    from cxrloc.tools.experiments.benchmarks.node_kills import kill_campaign

    if arguments.gate is None:
        raise ValueError("--gate is missing: expected the bundle of a gate, a small one will do")
    gate, url = bundle_at(arguments.gate), arguments.dicomweb
    outcome = kill_campaign(gate, NODE_IMAGES, NODE_KILLS, arguments.seed, url)
    print(outcome.table())
    return int(not outcome.good)


def damage_of(arguments: argparse.Namespace) -> int:
    """Print what came of damaged images; 1 if one was read although its decoder complained."""
    from cxrloc.tools.experiments.benchmarks.fuzz.damaged_images import damage_table

    with tempfile.TemporaryDirectory() as folder:
        paths = [r.file for r in _images(arguments.root, Path(folder), DAMAGED_IMAGES)]
        mutations = arguments.mutations or 1_000
        return damage_table(paths, arguments.size, mutations, arguments.seed)


def report(sides: Sides, repeats: int) -> None:
    """Print the median seconds of each side, and each as a ratio to the first."""
    from cxrloc.tools.experiments.benchmarks.timing import compare

    for cost in compare(sides, repeats):
        print(f"{cost.name:44s} {cost.wall:9.4f} s   ratio {cost.ratio:6.2f}")


def _images(root: Path | None, folder: Path, count: int) -> list[Radiograph]:
    """The first images of an NIH folder; without one, drawn images in `folder`."""
    from cxrloc.datasets.phantoms.nih import PhantomConfig, make_phantom
    from cxrloc.datasets.readers import nih

    if root is None:
        root = make_phantom(PhantomConfig(patients=count), folder / "phantom")
    return [r for r in nih.index(root).radiographs if r.path is not None][:count]


def data_table(arguments: argparse.Namespace) -> None:
    """Print images per second of each loader, and as a ratio to the textbook loader's."""
    from cxrloc.tools.experiments.benchmarks.loaders import hash_table, loader_rates, rate_table

    with tempfile.TemporaryDirectory() as folder:
        images = _images(arguments.root, Path(folder), DATA_IMAGES)
        print(f"{len(images)} images of {images[0].file.parent}, in the disk's cache")
        shards = Path(folder) / "shards"
        print(rate_table(loader_rates(images, shards, DATA_SIZES, DATA_WORKERS, arguments.repeats)))
        print(hash_table(shards, DATA_SIZES))


if __name__ == "__main__":
    sys.exit(main())
