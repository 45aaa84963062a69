r"""Draw a phantom data set: chest or limb images with diseases, labels and boxes.

    cxrloc make-phantom --out data/phantom
    cxrloc make-phantom --kind chexpert --patients 300 --image-size 160 \
        --out data/CheXpert-v1.0-small
    cxrloc make-phantom --kind limb --patients 320 --image-size 256 \
        --out data/limbs

The chests have eight diseases and NIH's own file layout, or with `--kind chexpert` CheXpert's
(lateral views, uncertain and blank labels). `--kind limb` draws arms with broken, plated or
diseased bones in MURA's layout (OUT/MURA-v1.1). A finished phantom of the same settings is left as
it is. The images are drawn, no patient is behind them: never a diagnosis.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cxrloc.configs.command_line import load_config, run_tool
from cxrloc.datasets.phantoms.chexpert import ChexpertPhantomConfig, make_chexpert_phantom
from cxrloc.datasets.phantoms.mura import LimbConfig, make_phantom_limb
from cxrloc.datasets.phantoms.nih import PhantomConfig, make_phantom

KINDS: dict[str, tuple[type[Any], Callable[[Any, Path, int | None], Path]]] = {
    "chest": (PhantomConfig, make_phantom),
    "chexpert": (ChexpertPhantomConfig, make_chexpert_phantom),
    "limb": (LimbConfig, make_phantom_limb),
}


@dataclass(frozen=True, kw_only=True)
class MakePhantomConfig:
    """What is drawn.

    Attributes:
        out: folder to write. It must be new, be empty, or hold the same phantom.
        kind: chest (in NIH's layout), chexpert, or limb (in MURA's layout).
        patients: number of patients (default: the kind's own).
        seed: seed of everything that is drawn (default: the kind's own).
        image_size: size of the images in pixels (default: the kind's own).
        style: of the chests: upright, or bedside for a second hospital with other patients, flat
            contrast and crooked AP images, to test a model trained on upright ones.
        workers: processes that draw (default: one per core). The images do not depend on it.
    """

    out: Path
    kind: Literal["chest", "chexpert", "limb"] = "chest"
    patients: int | None = None
    seed: int | None = None
    image_size: int | None = None
    style: Literal["upright", "bedside"] | None = None
    workers: int | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool("make_phantom", lambda: _make(load_config(MakePhantomConfig, argv, __doc__)))


def _make(options: MakePhantomConfig) -> None:
    build, make = KINDS[options.kind]
    if options.style is not None and options.kind != "chest":
        raise ValueError(f"--style is of --kind chest alone, not of {options.kind}")
    names = ("patients", "seed", "image_size", "style")
    asked = {name: getattr(options, name) for name in names}
    config = build(**{name: value for name, value in asked.items() if value is not None})
    out = make(config, options.out, options.workers)
    print(f"Phantom images are in {out} (drawn, not patients: never a diagnosis).")


if __name__ == "__main__":
    sys.exit(main())
