"""Hash what a `.safetensors` file of ours holds: the text of its metadata, and all its tensors.

Exported networks (`onnx_file`) state their metadata and hash under the same keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

# torch is imported where tensors are hashed: metadata alone need none
if TYPE_CHECKING:
    import torch

METADATA = "cxrloc"  # key of the metadata's text, as JSON
HASH = "cxrloc_sha256"


def content_sha256(tensors: Mapping[str, torch.Tensor], text: str) -> str:
    """Hexadecimal SHA-256 of the text, and of each tensor's name, type, shape and values."""
    import torch

    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        values = tensor.reshape(-1).view(torch.uint8).numpy().data
        _add(digest, name, tensor.dtype, tuple(tensor.shape), values)
    return digest.hexdigest()


def arrays_sha256(arrays: Mapping[str, npt.NDArray[Any]], text: str) -> str:
    """The same of arrays, without torch."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        _add(digest, name, array.dtype, array.shape, array.reshape(-1).data)
    return digest.hexdigest()


def _add(digest: Any, name: str, kind: object, shape: tuple[int, ...], values: memoryview) -> None:
    digest.update(f"{name} {kind} {shape}".encode())
    digest.update(values)


def check_hashed(path: Path, stated: Mapping[str, str], again: str) -> None:
    """Refuse a file that states no hash.

    Raises:
        ValueError: naming the file; `again` says how to make another.
    """
    if HASH not in stated:
        raise ValueError(
            f"{path} states no hash of its content ({HASH}), so damage would go unseen; {again}"
        )


def check_content(
    path: Path, tensors: Mapping[str, torch.Tensor], stated: Mapping[str, str], again: str
) -> None:
    """Compare tensors and text with the hash that the file states.

    Args:
        stated: the file's metadata.
        again: ends the messages.

    Raises:
        ValueError: naming the file, for another hash or none.
    """
    check_hashed(path, stated, again)
    if stated[HASH] != content_sha256(tensors, stated[METADATA]):
        raise ValueError(
            f"{path} is damaged or was changed: its content is not that which was written (the "
            f"hash differs); copy it again from where it was made, or {again}"
        )
