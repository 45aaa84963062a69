"""Load a gate from the file that holds it, whichever kind it is of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cxrloc.classification.bundle.onnx_file import SUFFIX
from cxrloc.classification.inference.exported_gate import ExportedGate

# torch is imported with the bundles that need it: exported gates do not
if TYPE_CHECKING:
    from cxrloc.classification.inference.gate import Gate


def load_gate(path: Path, device: str = "auto", precision: str = "auto") -> Gate | ExportedGate:
    """Load a bundle, to run in torch, or what `cxrloc export` made of one.

    Raises:
        FileNotFoundError, ValueError, ImportError: for a file that is neither, or cannot be run so.
    """
    if path.suffix == SUFFIX:
        return ExportedGate(path, device, precision)

    from cxrloc.classification.bundle.classifier import load_classifier
    from cxrloc.classification.inference.gate import Gate

    return Gate(load_classifier(path), device, precision)
