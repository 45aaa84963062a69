"""Read every image once to find damaged files before a long run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from cxrloc.datasets.images.pixel_cache import in_threads
from cxrloc.datasets.images.read import UnreadableImageError, read_image
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.datasets.readers.index import ReaderWarnings

_ASPECT_TOLERANCE = 0.01


def check_images(
    radiographs: Sequence[Radiograph], warnings: ReaderWarnings, workers: int | None = None
) -> dict[str, str]:
    """Return image id -> reason for every unreadable image; each is also counted as a warning.

    Kept, but counted as a warning: images whose aspect ratio differs from their frame (a cropped
    copy would have misplaced boxes) and images whose file itself warns (a lateral DICOM image, no
    contrast).

    Args:
        radiographs: images with a path.
        workers: decoding threads; None means all cores.
    """
    unreadable: dict[str, str] = {}
    misshapen: list[str] = []
    doubtful: list[str] = []
    results = in_threads(_look, radiographs, workers, "check images")
    for radiograph, result in zip(radiographs, results, strict=True):
        if isinstance(result, str):
            unreadable[radiograph.image_id] = result
            continue
        (height, width), notes = result
        if notes:
            doubtful.append(f"{radiograph.image_id} ({' '.join(notes)})")
        if not _same_aspect((height, width), radiograph.size_hw):
            misshapen.append(f"{radiograph.image_id} is {width} x {height}")
    names = {r.image_id: _name(r) for r in radiographs if r.image_id in unreadable}
    damaged = [f"{names[image]} ({reason})" for image, reason in unreadable.items()]
    warnings.warn("unreadable images, left out", damaged)
    warnings.warn("images shaped unlike their frame; boxes may be misplaced", misshapen)
    warnings.warn("images with a warning, kept", doubtful)
    return unreadable


def _look(radiograph: Radiograph) -> tuple[tuple[int, int], tuple[str, ...]] | str:
    """Height and width of the file and its warnings, or the reason why it is unreadable."""
    try:
        image = read_image(radiograph.file)
    except UnreadableImageError as error:
        return error.reason
    return image.size_hw, image.warnings


def _name(radiograph: Radiograph) -> str:
    """The file to replace: a JPEG may stand in for a listed PNG."""
    # keep the folders of the id: in some data sets every file is named image1.png or the like
    return PurePosixPath(radiograph.image_id).with_name(radiograph.file.name).as_posix()


def _same_aspect(shape: tuple[int, int], frame_hw: tuple[int, int]) -> bool:
    return abs(shape[0] / shape[1] * frame_hw[1] / frame_hw[0] - 1) < _ASPECT_TOLERANCE
