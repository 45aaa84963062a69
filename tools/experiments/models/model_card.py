r"""Write a trained model's card: what it is, what it learnt from, and how far to trust it.

    cxrloc card demo/gate/fold0
    cxrloc card runs/maskrcnn/fold0/maskrcnn.safetensors

BUNDLE is a gate, a Mask R-CNN, what `cxrloc export` made of one, or a run folder that holds one.
The card is a page of Markdown beside it: classifier.card.md. All of it comes from the bundle's
metadata and from what the training left in the same folder: metrics.json and training_images.csv.
What they do not say is named as not known. Trainings write the card of each model themselves.
Research use only, never a diagnosis.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from cxrloc.classification.bundle.card import write_card
from cxrloc.configs.command_line import run_tool, tool_parser
from cxrloc.tools.experiments.models.export_model import model_at


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool("model_card", lambda: _run(_parser().parse_args(argv)), "no card was written")


def _parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    trained = "a trained model (.safetensors or .onnx), or a run folder that holds one"
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help=trained)
    return parser


def _run(arguments: argparse.Namespace) -> None:
    print(f"The model card is {write_card(model_at(arguments.bundle))}.")


if __name__ == "__main__":
    raise SystemExit(main())
