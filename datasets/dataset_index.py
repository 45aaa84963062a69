"""What the reader of a data set returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxrloc.datasets.counted_warnings import CountedWarnings
from cxrloc.datasets.radiograph import Radiograph


@dataclass(frozen=True)
class DatasetIndex:
    """All listed images as radiographs, and what the other files say.

    Attributes:
        radiographs: one per listed image, in file order; `path` is None where no file was found.
        official: image id -> "train_val" or "test"; empty where the data set's lists are not there.
        warnings: kind of fault -> count, with examples.
        sources: every file that was read, for the manifest's hashes.
    """

    radiographs: list[Radiograph]
    official: dict[str, str]
    warnings: CountedWarnings
    sources: tuple[Path, ...]
