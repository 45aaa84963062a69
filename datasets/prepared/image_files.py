"""Take the image files from a prepared folder where a tool asks for images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path


def listed_images(inputs: Iterable[Path | str]) -> list[Path | str]:
    """The inputs, with the image files of each prepared folder in place of the folder.

    A URL stays as it is.

    Raises:
        FileNotFoundError, ValueError: for a prepared folder that is unfinished or lists no image.
    """
    return [path for given in inputs for path in _listed(given)]


def _listed(given: Path | str) -> Sequence[Path | str]:
    if isinstance(given, str) or not given.is_dir():
        return [given]
    # a run on one image starts without what reads COCO files
    from cxrloc.datasets.prepared.folder import PreparedFolder, load_prepared

    files = PreparedFolder(given)
    if not (files.index.is_file() and files.ground_truth.is_file()):
        return [given]
    images = [str(radiograph.file) for radiograph in load_prepared(given).radiographs]
    if not images:
        raise ValueError(f"{given} is a prepared folder, but lists no image that is on disk")
    return images
