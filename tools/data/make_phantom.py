"""python tools/data/make_phantom.py --out DIR [--patients 600] [--image_size 512] [--seed 0]
    [--kind chexpert | --kind limb]

Draws a phantom data set into DIR: chest images with eight diseases in NIH's own file layout, or
with `--kind chexpert` in CheXpert's (lateral views, uncertain and blank labels), or with `--kind
limb` arms with broken, plated or diseased bones in MURA's (DIR/MURA-v1.1). A finished phantom of
the same settings is left as it is. Drawn, not patients: never a diagnosis.
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
    """Options of the tool.

    Attributes:
        out: folder to write; must not exist, be empty, or hold the same phantom.
        kind: chest (in NIH's layout), chexpert or limb (in MURA's).
        patients, seed, image_size: see the kind's own config, whose defaults hold where one is
            left out.
        workers: processes, by default one per core; the bytes do not depend on it.
    """

    out: Path
    kind: Literal["chest", "chexpert", "limb"] = "chest"
    patients: int | None = None
    seed: int | None = None
    image_size: int | None = None
    workers: int | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool("make_phantom", lambda: _make(load_config(MakePhantomConfig, argv, __doc__)))


def _make(options: MakePhantomConfig) -> None:
    build, make = KINDS[options.kind]
    asked = {name: getattr(options, name) for name in ("patients", "seed", "image_size")}
    config = build(**{name: value for name, value in asked.items() if value is not None})
    out = make(config, options.out, options.workers)
    print(f"phantom images in {out} (drawn, not patients: never a diagnosis)")


if __name__ == "__main__":
    sys.exit(main())
