"""Train the gate, one network per fold, and report on all images out of fold.

    python tools/train_classifier.py --config configs/phantom/classifier_demo.yaml

The folds are by patient (tools/prepare_data.py made them). With a `data.split` other than folds one
network is trained, and the report is of the images that the split holds out. A run that was killed
goes on with the same command; folds that are finished are skipped. With `data.fold` one fold alone
is trained, and nothing is reported out of fold; once all are trained that way, the command without
it writes the report. The run folder gets for each fold the bundle, its training images, figures and
logs, and over all folds gate.csv, metrics.json and .md, out_of_fold.parquet, cross_validation.csv
and .md, confusion matrices, reliability diagrams and losses per epoch. Several such run folders are
compared by tools/experiments/compare_networks.py.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads cost 5 x

from cxrloc.classification.config import ClassifierConfig
from cxrloc.configs.command_line import load_config, run_tool


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool(
        "train_classifier", lambda: _train(load_config(ClassifierConfig, argv, __doc__))
    )


def _train(config: ClassifierConfig) -> None:
    # after the settings are read: --help needs no torch
    from cxrloc.classification.runs.train import run_classifier

    run_classifier(config)


if __name__ == "__main__":
    raise SystemExit(main())
