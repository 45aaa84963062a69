"""Train the gate: python tools/train_classifier.py --config configs/classifier_phantom_demo.yaml

A run that was killed goes on with the same command; folds that are finished are skipped.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads cost 5 x

from cxrloc.classification.config import ClassifierConfig
from cxrloc.configs.load import load_config


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 when the run is complete, 1 when data or weights fail, 2 for bad settings."""
    config = load_config(ClassifierConfig, argv, __doc__)
    # after the settings are read: --help needs no torch
    from cxrloc.classification.cross_validation import run_classifier

    try:
        run_classifier(config)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
