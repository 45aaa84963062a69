"""Train Mask R-CNN by patient folds and predict every film out of fold.

    python tools/train_maskrcnn.py --config configs/maskrcnn_phantom.yaml --folds 5

A run that was killed goes on with the same command; folds that are finished are skipped.
Research use only, never a diagnosis.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads cost 5 x

from cxrloc.configs.load import load_config
from cxrloc.detection.run_config import MaskRCNNConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 when the run is complete, 1 when data or weights fail, 2 for bad settings."""
    config = load_config(MaskRCNNConfig, argv, __doc__)
    # after the settings are read: --help needs no torch
    from cxrloc.detection.cross_validation import run_maskrcnn

    try:
        out = run_maskrcnn(config)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"Mask R-CNN: results in {out} (research use only, never a diagnosis)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
