"""Which number format a setting means on a device."""

from __future__ import annotations

import pytest
import torch

from cxrloc.classification.network import precision
from cxrloc.classification.network.precision import autocast, resolve_device, resolve_precision


@pytest.mark.parametrize(("amx", "expected"), [(True, "bf16"), (False, "fp32")])
def test_auto_takes_bf16_on_a_cpu_only_with_amx(
    monkeypatch: pytest.MonkeyPatch, amx: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    assert resolve_precision("auto", "cpu") == expected


def test_auto_is_fp32_when_torch_has_no_such_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    assert resolve_precision("auto", "cpu") == "fp32"


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_an_explicit_precision_is_taken_as_it_is(name: str) -> None:
    assert resolve_precision(name, "cpu") == name


def test_an_unknown_precision_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="precision 'fp8', expected one of auto, fp32, bf16"):
        resolve_precision("fp8", "cpu")


@pytest.mark.parametrize(("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast_sets_the_format_of_a_product(
    name: precision.Precision, dtype: torch.dtype
) -> None:
    with autocast(name, "cpu"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_an_absent_gpu_is_said_and_auto_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")
    for absent in ("cuda:1", "mps", "xpu", "meta", "cpu:7", "gpu", "CUDA", "tpu", ""):
        expected = f"device '{absent}': expected auto, cpu .torch sees no CUDA device"
        with pytest.raises(ValueError, match=expected):
            resolve_device(absent)
