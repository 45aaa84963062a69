"""Load initial weights from a file, torchvision or a package, and report what was not loaded."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from cxrloc.classification.network import efficientnet_lite
from cxrloc.classification.network.content_hash import METADATA, check_content

# prefixes that other programs and our own bundles add to torchvision's tensor names
_PREFIXES = ("module.", "model.", "backbone.body.", "backbone.")
# torchvision's DenseNet files still say `denselayer1.norm.1` for the layer `norm1`
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")


@dataclass(frozen=True)
class LoadReport:
    """Tensor names after loading weights into a network.

    Attributes:
        source: the file or name of the weights; empty if none were requested.
        loaded: tensors of the network that were filled.
        missing: tensors of the network that the source lacks; they stay random.
        unexpected: tensors of the source without a place in the network.
        mismatched: tensors in both with different shapes, not loaded.
    """

    source: str = ""
    loaded: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.source:
            return "weights: none, random initialisation"
        total = len(self.loaded) + len(self.missing) + len(self.mismatched)
        lines = [f"weights: {self.source}: loaded {len(self.loaded)} of {total} tensors"]
        for title in ("missing", "unexpected", "mismatched"):
            names = getattr(self, title)
            if names:
                lines.append(f"  {title} ({len(names)}): {', '.join(names)}")
        return "\n".join(lines)


def random_and_frozen(report: LoadReport, frozen: Sequence[str]) -> tuple[str, ...]:
    """Frozen layers with tensors missing from the weights, in the order of `frozen`.

    A head trained on them would be trained on a random projection.

    Args:
        frozen: names of the backbone layers that a stage freezes.
    """
    if not report.source:
        return ()
    absent = (*report.missing, *report.mismatched)
    return tuple(
        layer for layer in frozen if any(name.startswith(f"backbone.{layer}.") for name in absent)
    )


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read tensors from a `.safetensors` file or a foreign `.pth`/`.pt` (with weights_only=True).

    A `state_dict` or `model` entry of a checkpoint is unwrapped, and known prefixes are removed. A
    bundle of ours is compared with the hash that it states.

    Raises:
        FileNotFoundError, ValueError: if the file is missing, unreadable, or contains no tensors.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no weights file at {path}; correct model.weights: expected none, imagenet, or the "
            "path of a .safetensors or .pth file"
        )
    try:
        state = _read_safe(path) if path.suffix == ".safetensors" else _read_foreign(path)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError) as error:
        raise ValueError(f"cannot read {path} as weights: {_reason(error)}") from error
    except Exception as error:  # pickle.UnpicklingError: the file wants to run code
        raise ValueError(
            f"{path} is damaged or contains more than tensors, and is refused: {_reason(error)}"
        ) from error
    tensors = {_plain(name): value for name, value in state.items()}
    if not tensors:
        raise ValueError(f"{path} contains no tensors; expected a state dict")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(
                f"{path}: the weights {name!r} are NaN or infinite; get the file again"
            )
    return tensors


def load_partial(
    network: nn.Module, tensors: Mapping[str, torch.Tensor], source: str
) -> LoadReport:
    """Copy every tensor whose name and shape fit into `network`, and report the rest.

    Raises:
        ValueError: if no tensor fits, so a run never starts from random weights by accident.
    """
    state = network.state_dict()
    fits = {n for n in state if n in tensors and state[n].shape == tensors[n].shape}
    report = LoadReport(
        source=source,
        loaded=tuple(n for n in state if n in fits),
        missing=tuple(n for n in state if n not in tensors),
        unexpected=tuple(sorted(n for n in tensors if n not in state)),
        mismatched=tuple(n for n in state if n in tensors and n not in fits),
    )
    if not fits:
        raise ValueError(
            f"nothing in {source} fits the network: it has {', '.join(list(tensors)[:3])}, ..., "
            f"expected names like {', '.join(list(state)[:3])}"
        )
    network.load_state_dict({name: tensors[name] for name in report.loaded}, strict=False)
    return report


def imagenet_weights(architecture: str) -> dict[str, torch.Tensor]:
    """ImageNet-1k weights under their published names.

    EfficientNet-Lite0's come from an installed package, the others are torchvision's (V1), from its
    cache or its download site.

    Raises:
        ValueError: if there are none, or they are neither on this machine nor downloadable.
    """
    if architecture == efficientnet_lite.NAME:
        return read_weights(efficientnet_lite.imagenet_file())
    return _of_torchvision(architecture)


def _of_torchvision(architecture: str) -> dict[str, torch.Tensor]:
    from torchvision.models import get_model_weights

    try:
        weights = get_model_weights(architecture)["IMAGENET1K_V1"]
    except ValueError as error:
        raise ValueError(
            f"no ImageNet weights for {architecture} in torchvision; set model.weights to none, or "
            "to the path of a .safetensors or .pth file"
        ) from error
    try:
        state: dict[str, torch.Tensor] = weights.get_state_dict(
            progress=True, check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError) as error:  # URLError is an OSError; RuntimeError: wrong hash
        raise ValueError(
            f"could not download ImageNet weights for {architecture} from {weights.url} ({error}); "
            "without a network connection set model.weights to the path of a .safetensors or .pth "
            "file, or to none"
        ) from error
    return {_plain(name): value for name, value in state.items()}


def _reason(error: Exception) -> str:
    """What torch says in one line, without its advice to run the file's code."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said.rpartition("WeightsUnpickler error: ")[2].partition(". ")[0][:300]


def _read_safe(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(str(path), framework="pt") as handle:
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        stated = handle.metadata() or {}
    if METADATA in stated:
        check_content(path, tensors, stated, "make it again with the command that wrote it")
    return tensors


def _read_foreign(path: Path) -> dict[str, torch.Tensor]:
    if zipfile.is_zipfile(path):  # as torch writes them; it does not compare their checksums
        with zipfile.ZipFile(path) as records:
            damaged = records.testzip()
        if damaged is not None:
            raise ValueError(f"damaged: another checksum than was written in {damaged!r}")
    elif not _is_pickle(path):  # of any text torch would try to make something, for minutes
        raise ValueError("it is no file of PyTorch")
    value = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model"):
        if isinstance(value, dict) and isinstance(value.get(key), dict):
            value = value[key]
    if not isinstance(value, dict):
        raise ValueError(f"expected a state dict, got {type(value).__name__}")
    return {str(k): v for k, v in value.items() if isinstance(v, torch.Tensor)}


def _is_pickle(path: Path) -> bool:
    """Whether it begins as torch wrote files before version 1.6."""
    with path.open("rb") as file:
        return file.read(1) == b"\x80"


def _plain(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return _OLD_DENSENET.sub(r"\1\2", name)
