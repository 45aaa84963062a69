"""Recognise images whose results are already in the folder of `cxrloc predict`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from cxrloc.datasets.files.checked import AtLeastOne, Finite, Flag, Name, Positive, Share, checked
from cxrloc.datasets.files.storage import Storage


def read_done(
    out: str | Path, name: str, source: str | Path, manifest: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The record (`to_json`) of an image that is done; None for an image to predict.

    It is done if `out` holds its JSON, made from the same file by the same models and settings,
    and if the other files that are asked for were written with it.

    Args:
        out: folder or URL of the results.
        name: stem of its files there.
        source: path or URL of the image.
        manifest: of this run.
    """
    storage, file = Storage.at(out), f"{name}.json"
    try:
        record: dict[str, Any] = storage.read_json(file)
        checked(record, _Record, f"{out}/{file}")
        then, now = record["manifest"], {**manifest, **source_facts(source)}
        same = all(then[key] == now[key] for key in ("config", "hashes", "image"))
        same = same and set(now["write"]) <= {"table", *then["write"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no such file, or not written by this tool: the image is predicted again
    return record if same else None


_State = tuple[int | None, int | str | None]


class _Image(TypedDict):
    file_name: Name
    width: AtLeastOne
    height: AtLeastOne


class _Category(TypedDict):
    id: AtLeastOne
    name: Name


class _Finding(TypedDict):
    disease: Name
    probability: Share
    threshold: Share | None
    present: Flag


class _Mask(TypedDict):
    counts: str


class _Box(TypedDict):
    category_id: AtLeastOne
    bbox: tuple[Finite, Finite, Positive, Positive]
    score: Finite
    localizer: Name
    rank: AtLeastOne
    segmentation: NotRequired[_Mask]


class _Record(TypedDict):
    """What is read of a file that an earlier run wrote (all of it: `to_json`)."""

    warnings: list[str]
    images: tuple[_Image]
    categories: list[_Category]
    findings: list[_Finding]
    annotations: list[_Box]
    localizers: Annotated[list[Name], Field(min_length=1)]
    manifest: dict[str, Any]


def source_facts(source: str | Path) -> dict[str, Any]:
    """Facts that tell a file from another of the same name, without reading it."""
    return facts_of_sources([source])[0]


def facts_of_sources(sources: Sequence[str | Path]) -> list[dict[str, Any]]:
    """`source_facts` of several files; those in one store are asked for together."""
    words = [str(source) for source in sources]
    known = _states_in_stores([word for word in words if "://" in word])
    return [_facts(word, known[word] if "://" in word else _state(word)) for word in words]


def _facts(source: str, state: _State) -> dict[str, Any]:
    # as a hash: archives call folders after patients
    whole = source if "://" in source else os.path.realpath(source)
    place = hashlib.sha256(os.fsencode(whole)).hexdigest()
    size, changed = state
    return {"image": {"path_sha256": place, "bytes": size, "changed": changed}}


def _states_in_stores(urls: Sequence[str]) -> dict[str, _State]:
    """Bytes of each file and when it was last changed; None for a missing one."""
    folders: dict[str, list[str]] = {}
    for url in urls:
        folder, _, name = url.rpartition("/")
        folder, name = (folder, name) if "://" in folder else (url, "")
        folders.setdefault(folder, []).append(name)
    states: dict[str, _State] = {}
    for folder, names in folders.items():
        for name, state in zip(names, Storage.at(folder).states(names), strict=True):
            states[f"{folder}/{name}" if name else folder] = state or (None, None)
    return states


def _state(source: str) -> _State:
    """The same of a file on a disk."""
    if not os.path.isfile(source):
        return None, None
    status = os.stat(source)
    return status.st_size, status.st_mtime_ns
