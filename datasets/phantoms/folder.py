"""Write a phantom's folder: drawn in parallel, complete or absent, and kept once finished."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from cxrloc.datasets.files.manifest import write_json
from cxrloc.datasets.files.runs.locks import writes_file
from cxrloc.datasets.files.runs.temporaries import temporary_beside
from cxrloc.datasets.files.runs.workers import worker_pool
from cxrloc.datasets.progress import progress

Planned = TypeVar("Planned")
Drawn = TypeVar("Drawn")
_SETTINGS_FILE = "phantom.json"
_COMPRESSION = {
    # grain hardly repeats: looking for repetitions takes twice the time, and the file grows
    ".png": [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE],
    ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 90],
}
_NOTE = "drawn phantom images, not patients; research use only, never a diagnosis"


def check_settings(settings: Any, fewest_patients: int = 1, most_patients: int = 99_999) -> None:
    """Check `patients`, `seed` and `image_size` of a phantom's settings.

    Raises:
        ValueError: stating the setting, its value and the expected range.
    """
    if not fewest_patients <= settings.patients <= most_patients:
        expected = f"expected {fewest_patients} to {most_patients}"
        raise ValueError(f"patients is {settings.patients}, {expected}")
    if settings.seed < 0:
        raise ValueError(f"seed is {settings.seed}, expected 0 or more")
    if not 64 <= settings.image_size <= 4096:
        raise ValueError(f"image_size is {settings.image_size}, expected 64 to 4096 pixels")


def write_folder(out: Path, settings: dict[str, object], write: Callable[[Path], None]) -> Path:
    """Create `out` from the files that `write` puts into a temporary folder; return `out`.

    A finished phantom with the same settings is kept. The folder appears only when complete.

    Args:
        settings: JSON-ready values that determine every byte.

    Raises:
        FileExistsError: if `out` holds anything but a finished phantom with these settings.
    """
    settings = {"note": _NOTE, **settings}
    with writes_file(out), temporary_beside(out) as temporary:  # the folder appears as a file does
        if _finished(settings, out):
            tqdm.write(f"phantom: {out} already holds these images, nothing to do")
            return out
        try:
            temporary.mkdir()
            write(temporary)
            write_json(temporary / _SETTINGS_FILE, settings)
            temporary.replace(out)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return out


def in_processes(
    draw: Callable[[Planned], Drawn], plan: Sequence[Planned], workers: int | None
) -> list[Drawn]:
    """Draw each planned image in order, with a progress bar; by default one process per core."""
    count = workers if workers is not None else min(os.cpu_count() or 1, math.ceil(len(plan) / 40))
    bar = partial(progress, description="phantom images", total=len(plan))
    if count <= 1:
        return list(bar(map(draw, plan)))
    with worker_pool(count) as pool:
        return list(bar(pool.map(draw, plan, chunksize=8)))


def write_image(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    """Write a .png or .jpg file, always with the same compression.

    Raises:
        OSError: if the file cannot be written.
    """
    if not cv2.imwrite(str(path), pixels, _COMPRESSION[path.suffix]):
        raise OSError(f"could not write {path}: is the disk full?")


def _finished(settings: dict[str, object], out: Path) -> bool:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        recorded = json.loads((out / _SETTINGS_FILE).read_text())
    except (OSError, ValueError):
        recorded = None
    if recorded == settings:
        return True
    raise FileExistsError(
        f"{out} {_difference(recorded, settings)}; name another folder or delete it"
    )


def _difference(recorded: object, settings: dict[str, object]) -> str:
    if not isinstance(recorded, dict):
        return f"is not empty and not a finished phantom (it has no readable {_SETTINGS_FILE})"
    keys = [key for key in settings if recorded.get(key) != settings[key]]
    changes = ", ".join(
        f"{key} is {recorded.get(key)!r}, requested {settings[key]!r}" for key in keys
    )
    return f"holds a phantom with other settings ({changes})"
