"""Train one network per fold and report on all images out of fold.

    python tools/cross_validate.py --config configs/nih/classifier.yaml

The folds are by patient (tools/prepare_data.py made them). With a `data.split` other than folds one
network is trained, and the report is of the images that the split holds out. A run that was killed
goes on with the same command, folds that are finished are skipped, and those of train_classifier.py
count too. The run folder gets, beside what train_classifier.py writes, out_of_fold.parquet,
cross_validation.csv and .md, confusion matrices, reliability diagrams and losses per epoch. Several
such run folders are compared by tools/experiments/compare_networks.py.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads cost 5 x

from cxrloc.classification.config import CrossValidationConfig
from cxrloc.configs.command_line import run_tool


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 when the run is complete, 1 when data or weights fail, 2 for bad settings."""
    return run_tool(CrossValidationConfig, argv, __doc__, _cross_validate)


def _cross_validate(config: CrossValidationConfig) -> None:
    # after the settings are read: --help needs no torch
    from cxrloc.classification.runs.cross_validate import cross_validate

    cross_validate(config)


if __name__ == "__main__":
    raise SystemExit(main())
