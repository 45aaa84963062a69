"""python tools/make_phantom.py --out DIR [--patients 600] [--image_size 512] [--seed 0]

Draws the phantom data set (chest films with eight diseases, in NIH's own file layout) into DIR. A
finished phantom of the same settings is left as it is. Drawn, not patients: never a diagnosis.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrloc.configs.load import load_config
from cxrloc.datasets.phantom import PhantomConfig, make_phantom


@dataclass(frozen=True, kw_only=True)
class MakePhantomConfig(PhantomConfig):
    """Options of the tool.

    Attributes:
        out: folder to write; must not exist, be empty, or hold the same phantom.
        workers: processes, by default one per core; the bytes do not depend on it.
    """

    out: Path
    workers: int | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    options = load_config(MakePhantomConfig, argv, __doc__)
    names = [field.name for field in dataclasses.fields(PhantomConfig)]
    config = PhantomConfig(**{name: getattr(options, name) for name in names})
    try:
        out = make_phantom(config, options.out, options.workers)
    except FileExistsError as error:
        print(f"make_phantom: {error}", file=sys.stderr)
        return 1
    print(f"phantom films in {out} (drawn, not patients: never a diagnosis)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
