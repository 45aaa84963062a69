"""An exported network as one ONNX file, whose metadata are those of the bundle it was made from.

The key `cxrloc` of the file's `metadata_props` holds the bundle's metadata as JSON, with an entry
`export` that describes inputs and outputs. The properties stand at the end of the file, behind the
network. Further keys hold the length of the network in bytes, and a SHA-256 over it and the JSON,
so that a damaged file is noticed. Reading needs onnxruntime, writing onnx; neither needs torch.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from cxrloc.classification.bundle.metadata import check_kind, checked_metadata
from cxrloc.classification.network.content_hash import HASH, METADATA
from cxrloc.datasets.files.atomic import whole_file
from cxrloc.datasets.files.manifest import RESEARCH_USE

SUFFIX = ".onnx"
NETWORK_BYTES = "cxrloc_network_bytes"  # key of the length of the network
_BLOCK = 1 << 20
_AGAIN = "copy it again from where it was made, or make it again with cxrloc export"


@dataclass(frozen=True)
class OnnxNetwork:
    """An opened file.

    Attributes:
        session: `onnxruntime.InferenceSession` on the CPU.
        metadata: those of the bundle, and `export`.
    """

    session: Any
    metadata: Mapping[str, Any]


def write_onnx(path: Path, network: Any, metadata: Mapping[str, Any]) -> None:
    """Write the file atomically.

    Args:
        network: `onnx.ModelProto`; notes that its exporter left in it are removed, since they name
            files of this machine.
        metadata: JSON-ready values; `kind` is one of `metadata.KINDS`.
    """
    check_kind(metadata.get("kind"), path)
    text = json.dumps({**metadata, "notice": f"{RESEARCH_USE}."}, allow_nan=False)
    plain = _without_notes(network).SerializeToString(deterministic=True)
    with whole_file(path) as temporary:
        temporary.write_bytes(with_metadata(plain, text))


def with_metadata(network: bytes, text: str) -> bytes:
    """A serialised network, and behind it the text of its metadata and the hash of both."""
    import onnx

    stated = {METADATA: text, NETWORK_BYTES: str(len(network)), HASH: _sha256([network], text)}
    properties = onnx.ModelProto()
    onnx.helper.set_model_props(properties, stated)
    # a protocol buffer behind another adds its entries to it
    behind: bytes = properties.SerializeToString()
    return network + behind


def _without_notes(network: Any) -> Any:
    del network.metadata_props[:]
    network.doc_string = ""
    graph = network.graph
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    return network


def open_onnx(path: Path, kind: str, *, threads: int = 0) -> OnnxNetwork:
    """Open a file to run its network.

    Args:
        kind: kind that the caller can use.
        threads: 0 takes OMP_NUM_THREADS, or else one for each core.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: for a file that `write_onnx` did not write, one of another kind or a damaged
            one.
        ImportError: without onnxruntime, with the install command.
    """
    session = _session(path, threads or _threads_asked_for(), optimised=True)
    return OnnxNetwork(session, _metadata(session, path, kind))


def read_metadata(path: Path, kind: str | None = None) -> dict[str, Any]:
    """Read only the metadata; errors as for `open_onnx`."""
    return _metadata(_session(path, 1, optimised=False), path, kind)


def _session(path: Path, threads: int, *, optimised: bool) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"no exported network at {path}; cxrloc export makes one")
    program = runtime_package()
    options = program.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # threads that wait must not take the CPU from whatever else runs
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not optimised:
        options.graph_optimization_level = program.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return program.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own, which have no base class
        first = str(error).partition("\n")[0]
        raise ValueError(f"{path} is not a readable ONNX file: {first}; {_AGAIN}") from error


def runtime_package() -> ModuleType:
    """Import onnxruntime.

    Raises:
        ImportError: with the install command.
    """
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise ImportError(
            "an exported network needs onnxruntime, which is not installed: "
            'pip install "cxrloc[onnx]"'
        ) from error


def _threads_asked_for() -> int:
    word = os.environ.get("OMP_NUM_THREADS", "")
    return int(word) if word.isdecimal() else 0


def check_keys(path: Path, metadata: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Raise ValueError for metadata of an exported file that lack one of the keys."""
    for key in keys:
        if key not in metadata:
            raise ValueError(f"{path}: its metadata lack {key!r}: make it again with cxrloc export")


def _metadata(session: Any, path: Path, kind: str | None) -> dict[str, Any]:
    try:
        stated: Mapping[str, str] = session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is damaged: its metadata are no text; {_AGAIN}") from error
    text = stated.get(METADATA)
    if text is None:
        raise ValueError(
            f"{path} is a network without cxrloc metadata; expected a file made by cxrloc export"
        )
    if stated.get(HASH) != _sha256(_blocks(path, stated.get(NETWORK_BYTES, "")), text):
        raise ValueError(
            f"{path} is damaged or was changed: its content is not that which was written (the "
            f"hash differs); {_AGAIN}"
        )
    return checked_metadata(text, path, kind)


def _blocks(path: Path, length: str) -> Iterator[bytes]:
    """The network in a file, block by block: as a whole it would take as much memory again."""
    known = length.isdecimal() and len(length) < 16
    left = int(length) if known else path.stat().st_size
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(left, _BLOCK))):
            yield block
            left -= len(block)


def _sha256(network: Iterable[bytes], text: str) -> str:
    digest = hashlib.sha256()
    for block in network:
        digest.update(block)
    digest.update(text.encode())
    return digest.hexdigest()
