"""Is a file of a prepared folder the one that the folder's manifest was written for?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cxrloc.datasets.files.manifest import file_sha256
from cxrloc.datasets.files.parse import read_json
from cxrloc.datasets.prepared.index_file import AGAIN

MANIFEST = "manifest.json"
_KEYS = ("boxed_diseases", "k", "hashes")  # those of a prepared folder's manifest alone


def check_hash(file: Path, stated: str) -> None:
    """Compare a file with the hash that its folder's manifest states.

    Raises:
        ValueError: naming the file and what to do.
    """
    if stated != file_sha256(file):
        raise ValueError(
            f"{file} is not the file that {MANIFEST} was written for (its hash "
            f"differs: damaged, or changed by hand); {AGAIN}"
        )


def check_stated_hash(file: Path) -> None:
    """Do so if the file lies in a prepared folder, whose manifest states its hash.

    Raises:
        ValueError: naming the file and what to do.
    """
    path = file.parent / MANIFEST
    manifest = read_json(path) if path.is_file() else None
    if not (isinstance(manifest, dict) and all(key in manifest for key in _KEYS)):
        return
    hashes = manifest["hashes"]
    stated = hashes.get(file.name) if isinstance(hashes, Mapping) else None
    if isinstance(stated, str):
        check_hash(file, stated)
