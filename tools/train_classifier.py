r"""Train the gate, one network per fold, and report on all images out of fold.

    cxrloc train-gate --config configs/phantom/classifier_demo.yaml
    cxrloc train-gate --config configs/nih/classifier.yaml \
        --data.prepared data/nih --out runs/gate --train.epochs 10
    cxrloc train-gate --config configs/nih/classifier.yaml --data.fold 0

The folds are by patient (`cxrloc prepare` makes them). With a `data.split` other than folds, one
network is trained, and the report is on the images that the split holds out.

The same command resumes a run that was killed; finished folds are skipped. `data.fold` trains one
fold alone and reports nothing out of fold; once all folds are trained that way, the command without
it writes the report.

For each fold, OUT receives the bundle, the list of its training images, figures and logs; for all
folds together gate.csv, metrics.json and .md, out_of_fold.parquet, cross_validation.csv and .md,
confusion matrices, reliability diagrams and the losses per epoch. `cxrloc compare-networks`
compares several such runs.
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
