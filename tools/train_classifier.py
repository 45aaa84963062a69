"""Train the gate: python tools/train_classifier.py --config configs/phantom/classifier_demo.yaml

A run that was killed goes on with the same command; folds that are finished are skipped.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads cost 5 x

from cxrloc.classification.config import ClassifierConfig
from cxrloc.configs.command_line import run_tool


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 when the run is complete, 1 when data or weights fail, 2 for bad settings."""
    return run_tool(ClassifierConfig, argv, __doc__, _train)


def _train(config: ClassifierConfig) -> None:
    # after the settings are read: --help needs no torch
    from cxrloc.classification.runs.train import run_classifier

    run_classifier(config)


if __name__ == "__main__":
    raise SystemExit(main())
