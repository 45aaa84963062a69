"""Recognise images whose results are already in the folder of `cxrloc predict`."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cxrloc.datasets.readers.layouts import study_of

Probabilities = dict[str, float]


def read_done(
    out: Path, name: str, path: Path, manifest: Mapping[str, Any]
) -> Probabilities | None:
    """What its study needs of an image that is done; None for an image to predict.

    It is done if `out` holds its JSON, made from the same file by the same models and settings.
    """
    try:
        record: dict[str, Any] = json.loads((out / f"{name}.json").read_bytes())
        then, now = record["manifest"], {**manifest, **source_facts(path)}
        same = all(then[key] == now[key] for key in ("config", "hashes", "image"))
        findings = [(f["disease"], f["probability"]) for f in record["findings"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no such file, or not written by this tool: the image is predicted again
    return of_study(path, findings) if same else None


def of_study(path: Path, findings: Iterable[tuple[str, float]]) -> Probabilities:
    """Disease -> probability of an image of a study; nothing is kept of the many others."""
    return dict(findings) if study_of(path) is not None else {}


def source_facts(path: Path) -> dict[str, Any]:
    """Facts that tell a file from another of the same name, without reading it."""
    status = path.stat() if path.is_file() else None
    changed = (status.st_size, status.st_mtime_ns) if status else (None, None)
    # as a hash: archives call folders after patients
    place = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()
    return {"image": {"path_sha256": place, "bytes": changed[0], "mtime_ns": changed[1]}}
