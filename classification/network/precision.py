"""Choose the number format of a forward pass: float32, or bfloat16 where the hardware is fast."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

Precision = Literal["fp32", "bf16"]
PRECISIONS = ("auto", "fp32", "bf16")


def resolve_device(name: str) -> torch.device:
    """Resolve a device setting; "auto" is the first CUDA device, otherwise the CPU.

    Raises:
        ValueError: for any other than the devices that this machine has, which it lists.
    """
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if cards else "cpu")
    known = ["cpu", *(["cuda"] if cards else []), *(f"cuda:{number}" for number in range(cards))]
    if name not in known:
        none = "" if cards else " (torch sees no CUDA device)"
        raise ValueError(f"device {name!r}: expected auto, {' or '.join(known)}{none}")
    return torch.device(name)


def resolve_precision(name: str, device: str | torch.device) -> Precision:
    """Resolve "auto": "bf16" with AMX (CPU) or bfloat16 support (CUDA), otherwise "fp32".

    Without AMX a CPU runs bfloat16 slower than float32, hence the check.

    Raises:
        ValueError: for a name outside `PRECISIONS`.
    """
    if name == "fp32":
        return "fp32"
    if name == "bf16":
        return "bf16"
    if name != "auto":
        raise ValueError(f"precision {name!r}, expected one of {', '.join(PRECISIONS)}")
    kind = torch.device(device).type
    if kind == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if kind == "cpu" and _cpu_has_amx() else "fp32"


def autocast(precision: Precision, device: str | torch.device) -> AbstractContextManager[object]:
    """Context that runs a forward pass in `precision` (no effect for "fp32")."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)


def _cpu_has_amx() -> bool:
    # a private function of torch: if it is absent we do not know, and float32 is safe
    probe = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(probe and probe())


def as_float(value: Any) -> Any:
    """Convert a tensor, or all tensors in nested mappings, lists and tuples, to float32."""
    if isinstance(value, torch.Tensor):
        return value.float()
    if isinstance(value, Mapping):
        return {key: as_float(inner) for key, inner in value.items()}
    return type(value)(as_float(inner) for inner in value)
