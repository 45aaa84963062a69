r"""Export a trained model to ONNX: one file that runs without torch, here and in other programs.

    cxrloc export demo/gate/fold0 --to onnx
    cxrloc export demo/maskrcnn/fold0 --to onnx --out detector.onnx
    cxrloc predict image.png --gate demo/gate/fold0/classifier.onnx \
        --out predictions

BUNDLE is a gate or a Mask R-CNN, or a run folder that holds one. The file of a gate gives the
probabilities and the heat maps of all diseases in one pass, that of a Mask R-CNN boxes, scores and
masks. It takes grey levels from 0 to 255: the standardisation is part of the network. Diseases,
thresholds and the rest of the bundle's metadata are in it (docs/how-to/models/elsewhere.md).

Before it is written, it predicts 20 drawn images beside torch in float32. Where probabilities,
heat maps or boxes are further apart than docs/how-to/models/elsewhere.md states, nothing is
written. Needs `pip install "cxrloc[runtimes]"`; to predict with the file, `"cxrloc[onnx]"` is
enough. Research use only, never a diagnosis.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from cxrloc.classification.bundle.file import read_metadata
from cxrloc.classification.bundle.onnx_file import SUFFIX
from cxrloc.classification.run_folder import CLASSIFIER, bundle_at
from cxrloc.configs.command_line import run_tool, tool_parser
from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.datasets.files.runs.locks import writes_file
from cxrloc.detection.run_config import MASK_RCNN


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool(
        "export_model", lambda: _run(_parser().parse_args(argv)), "no network was written"
    )


def _parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    trained = "a trained model (.safetensors), or a run folder that holds one"
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help=trained)
    parser.add_argument("--to", choices=["onnx"], default="onnx", help="the form (default: onnx)")
    beside = "the file (default: beside the bundle, with its name and the ending .onnx)"
    parser.add_argument("--out", type=Path, metavar="FILE", help=beside)
    return parser


def _run(arguments: argparse.Namespace) -> None:
    bundle = model_at(arguments.bundle)
    kind = read_metadata(bundle)["kind"]
    out = arguments.out or bundle.with_suffix(SUFFIX)
    if out.suffix != SUFFIX:
        raise ValueError(f"--out {out}: expected a file that ends in {SUFFIX}")
    with writes_file(out):
        if kind == "classifier":
            from cxrloc.localization.cam.export.export_gate import export_gate

            agreement = export_gate(bundle, out)
        elif kind == "maskrcnn":
            from cxrloc.detection.torchvision_backend.export.export_detector import export_detector

            agreement = export_detector(bundle, out)
        else:
            raise ValueError(f"{bundle} is a {kind} bundle, expected a gate or a Mask R-CNN")
    print(f"Against torch {agreement}.")
    print(f"The exported {kind} is {out}. {RESEARCH_USE}.")


def model_at(path: Path) -> Path:
    """The one trained model that a path on the command line means, gate or detector."""
    return bundle_at(path, MASK_RCNN if (path / MASK_RCNN).is_file() else CLASSIFIER)


if __name__ == "__main__":
    raise SystemExit(main())
