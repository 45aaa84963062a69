"""A trained model as one `.safetensors` file: tensors plus JSON metadata, no pickle."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from cxrloc.classification.bundle import onnx_file
from cxrloc.classification.bundle.metadata import AGAIN, check_kind, checked_metadata
from cxrloc.classification.network.content_hash import (
    HASH,
    METADATA,
    check_content,
    check_hashed,
    content_sha256,
)
from cxrloc.datasets.files.atomic import whole_file
from cxrloc.datasets.files.manifest import RESEARCH_USE

# torch is imported where tensors are read: metadata alone need none
if TYPE_CHECKING:
    import torch

_NEVER_NEGATIVE = ("running_var", "deviation_image")  # ends of the names of tensors


def write_bundle(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]
) -> None:
    """Write a bundle atomically: first under a temporary name next to `path`, then renamed.

    Args:
        path: the `.safetensors` file; its folder is created.
        tensors: state of the network, on any device.
        metadata: JSON-ready values; `kind` is one of `KINDS`. The research-use notice is added.

    Raises:
        ValueError: for an unknown kind, or metadata that JSON cannot represent (such as NaN).
    """
    import torch
    from safetensors.torch import save_file

    check_kind(metadata.get("kind"), path)
    text = json.dumps({**metadata, "notice": f"{RESEARCH_USE}."}, allow_nan=False)
    # clone each tensor: safetensors refuses channels_last and shared memory
    plain = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    with whole_file(path) as temporary:
        try:
            stated = {METADATA: text, HASH: content_sha256(plain, text)}
            save_file(plain, temporary, metadata=stated)
        except SafetensorError as error:  # for example on a full disk, instead of an OSError
            raise OSError(f"cannot write {path}: {error}") from error


def read_bundle(
    path: Path, kind: str | None = None
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read the tensors (on the CPU) and metadata of a bundle.

    Args:
        path: a file written by `write_bundle`.
        kind: kind that the caller can use; None accepts any kind.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: for a file that is not a bundle, or a bundle of another kind; for a damaged one,
            one without a hash, and one with weights that are no finite numbers or variances below
            0.
    """
    if path.suffix == onnx_file.SUFFIX:
        raise ValueError(
            f"{path} is an exported network, which only predicts: predict, serve, node, "
            "localize and score-images take it; give the bundle that it was made from"
        )
    metadata = read_metadata(path, kind)
    with _opened(path, "pt") as handle:
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        stated = handle.metadata()
    again = AGAIN[metadata["kind"]]
    for name, tensor in tensors.items():
        if fault := _fault(name, tensor):
            raise ValueError(
                f"{path}: the weights {name!r} are {fault}; copy it again from where it was made, "
                f"or {again}"
            )
    check_content(path, tensors, stated, again)
    return tensors, metadata


def _fault(name: str, tensor: torch.Tensor) -> str:
    import torch

    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        return "NaN or infinite"
    return "below 0" if name.endswith(_NEVER_NEGATIVE) and (tensor < 0).any() else ""


def read_metadata(path: Path, kind: str | None = None) -> dict[str, Any]:
    """Read only the metadata of a bundle; arguments and errors as in `read_bundle`.

    Those of an exported network, too. Without torch.
    """
    if path.suffix == onnx_file.SUFFIX:
        return onnx_file.read_metadata(path, kind)
    with _opened(path, "numpy") as handle:
        stated = handle.metadata() or {}
    text = stated.get(METADATA)
    if text is None:
        raise ValueError(
            f"{path} contains tensors but no cxrloc metadata: it is plain weights, not a bundle; "
            "expected a file written by a training tool of this project"
        )
    metadata = checked_metadata(text, path, kind)
    check_hashed(path, stated, AGAIN[metadata["kind"]])
    return metadata


def is_bundle(path: Path) -> bool:
    """Whether a `.safetensors` file says that a tool of ours wrote it; else it is plain weights.

    Raises:
        FileNotFoundError, ValueError: if there is no such file, or another's format.
    """
    with _opened(path, "numpy") as handle:
        return METADATA in (handle.metadata() or {})


@contextmanager
def _opened(path: Path, framework: str) -> Iterator[Any]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"no model bundle at {path}; train one or correct the path")
    try:
        with safe_open(str(path), framework=framework) as handle:
            yield handle
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a readable .safetensors file: {error}") from error


@contextmanager
def rebuilding(path: Path, verb: str, *errors: type[Exception]) -> Iterator[None]:
    """Within, a network is rebuilt from a bundle: `errors` mean that another version wrote it.

    Raises:
        ValueError: instead of them, naming the file and the verb that trains it again.
    """
    try:
        yield
    except errors as error:
        raise ValueError(
            f"{path}: this version cannot rebuild its network ({type(error).__name__}: {error}); "
            f"train it again with cxrloc {verb}"
        ) from error
