"""An uploaded file and the image in it; compressed DICOM is decoded in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxrloc.datasets.images.read import UnreadableImageError, decode_image
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.tools.server.http.limits import Limits
from cxrloc.tools.server.http.problems import ProblemError
from cxrloc.tools.server.images.headers import base_name, claimed_sizes


@dataclass(frozen=True)
class Upload:
    """One file as it came: its last name and its bytes."""

    name: str
    data: bytes

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", base_name(self.name))


def read_image(upload: Upload, limits: Limits) -> LoadedImage:
    """The image of an upload; its size is checked before anything is decoded.

    Raises:
        ProblemError: 413 too large, 415 of another kind, 422 damaged or not an image.
    """
    limits.check_bytes(len(upload.data))
    for width, height in claimed_sizes(upload.data):
        limits.check_pixels(width, height)
    try:
        return decode_image(upload.data, Path(upload.name))
    except UnreadableImageError as error:
        raise ProblemError(422, error.reason) from error
