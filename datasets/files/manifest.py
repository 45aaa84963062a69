"""The manifest of a run: everything needed to trace a figure back to its source."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cxrloc.datasets.files.atomic import whole_file, write_text
from cxrloc.datasets.files.runs.shown_paths import shown_command, shown_name, shown_settings

_PACKAGES = (
    "cxrloc",
    "torch",
    "torchvision",
    "lightning",
    "numpy",
    "opencv-python-headless",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "openvino",
)


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def run_manifest(
    config: Any, *, seed: int, hashes: Mapping[str, str], started: float, folder: Path
) -> dict[str, Any]:
    """Everything that identifies a run, as JSON-ready values.

    Args:
        config: the run's config dataclass (or a mapping).
        seed: the run's seed.
        hashes: name -> SHA-256 of the inputs (label file, split, ground truth, bundles).
        started: `time.time()` at the start of the run, for the wall time.
        folder: of the file that will hold the manifest; paths are given from there. Relative ones
            of the command stay as they were typed.
    """
    as_dict = dataclasses.asdict(config) if dataclasses.is_dataclass(config) else dict(config)  # type: ignore[arg-type]
    return {
        "command": [Path(sys.argv[0]).name, *shown_command(sys.argv[1:], folder)],
        "config": json.loads(json.dumps(shown_settings(as_dict, folder), default=str)),
        "seed": seed,
        "hashes": {shown_name(name, folder): value for name, value in hashes.items()},
        "versions": {"python": platform.python_version(), **package_versions()},
        "git_commit": _git_commit(),
        "wall_seconds": round(time.time() - started, 1),
    }


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_json_list(path: Path, entries: Iterable[Any]) -> None:
    """Write a JSON list atomically, one entry after the other, each on a line of its own."""
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        before = "["
        for entry in entries:
            file.write(f"{before}\n{json.dumps(entry, allow_nan=False)}")
            before = ","
        file.write("[]\n" if before == "[" else "\n]\n")


def package_versions() -> dict[str, str]:
    """Versions of the packages that affect the figures; "not installed" for missing ones."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def _git_commit() -> str:
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


RESEARCH_USE = "Research use only, never a diagnosis"
