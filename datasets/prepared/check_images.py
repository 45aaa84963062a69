"""Read every image once, to know before a long run which files are damaged."""

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
    """Image id -> reason, of the images whose file cannot be read; each is also a counted warning.

    An image whose shape is not that of its frame (a cropped copy, where boxes would be misplaced)
    is counted as a warning and kept, and so is one whose file warns of itself (a lateral DICOM
    image, an image without contrast).

    Args:
        radiographs: images with a path.
        workers: decoding threads; all cores when None.
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
        doubtful += [f"{radiograph.image_id} ({warning})" for warning in notes]
        if not _same_aspect((height, width), radiograph.size_hw):
            misshapen.append(f"{radiograph.image_id} is {width} x {height}")
    names = {r.image_id: _name(r) for r in radiographs if r.image_id in unreadable}
    damaged = [f"{names[image]} ({reason})" for image, reason in unreadable.items()]
    warnings.warn("images that cannot be read, left out", damaged)
    warnings.warn("images of another shape than their frame; their boxes may be off", misshapen)
    warnings.warn("warnings of images, which are kept", doubtful)
    return unreadable


def _look(radiograph: Radiograph) -> tuple[tuple[int, int], tuple[str, ...]] | str:
    """Height and width of the file and its warnings, or why it cannot be read."""
    try:
        image = read_image(radiograph.file)
    except UnreadableImageError as error:
        return error.reason
    return image.size_hw, image.warnings


def _name(radiograph: Radiograph) -> str:
    """The file that somebody has to replace: a JPEG may stand for a listed PNG."""
    # with the folders of the id, where all files have such names as image1.png
    return PurePosixPath(radiograph.image_id).with_name(radiograph.file.name).as_posix()


def _same_aspect(shape: tuple[int, int], frame_hw: tuple[int, int]) -> bool:
    return abs(shape[0] / shape[1] * frame_hw[1] / frame_hw[0] - 1) < _ASPECT_TOLERANCE
