r"""Train Mask R-CNN by patient folds, and predict every image out of fold.

    cxrloc train-maskrcnn --config configs/phantom/maskrcnn.yaml --folds 5
    cxrloc train-maskrcnn --config configs/nih/maskrcnn.yaml \
        --data.prepared data/nih --out runs/maskrcnn
    cxrloc train-maskrcnn --config configs/nih/maskrcnn.yaml \
        --model.weights gate --model.gate runs/gate

The same command resumes a run that was killed; finished folds are skipped. torchrun trains on
several processes: see docs/how-to/scale_out.md. Research use only, never a diagnosis.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads cost 5 x

from cxrloc.configs.command_line import load_config, run_tool
from cxrloc.detection.run_config import MaskRCNNConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool("train_maskrcnn", lambda: _train(load_config(MaskRCNNConfig, argv, __doc__)))


def _train(config: MaskRCNNConfig) -> None:
    # after the settings are read: --help needs no torch
    from cxrloc.detection.run import run_maskrcnn

    run_maskrcnn(config)


if __name__ == "__main__":
    raise SystemExit(main())
