"""What one client may ask of the server."""

from __future__ import annotations

from dataclasses import dataclass, fields

from cxrloc.tools.server.http.problems import ProblemError


@dataclass(frozen=True)
class Limits:
    """Limits of one server; all are positive.

    Attributes:
        megabytes: size of one file, in 10^6 bytes.
        request_megabytes: size of one request with all its files, in 10^6 bytes.
        files: files in one request.
        megapixels: width x height of one image, in 10^6 pixels.
        seconds: time that a request may take, including its wait in the queue.
        queue: images that may wait or run at once, over all clients. One page may hold as many; it
            submits them one by one.
    """

    megabytes: float = 50.0
    request_megabytes: float = 200.0
    files: int = 32
    megapixels: float = 40.0
    seconds: float = 120.0
    queue: int = 64

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ValueError(f"limit {field.name} is {value}, expected more than 0")

    def check_bytes(self, size: int) -> None:
        """Raise 413 for a file of more than `megabytes`."""
        if size > self.megabytes * 1e6:
            raise ProblemError(
                413, f"the file has {size / 1e6:.1f} MB; the limit is {self.megabytes:g} MB"
            )

    def check_pixels(self, width: int, height: int) -> None:
        """Raise 413 for an image of more than `megapixels`."""
        if width * height > self.megapixels * 1e6:
            raise ProblemError(
                413,
                f"its header says {width} x {height} = {width * height / 1e6:.1f} megapixels; "
                f"the limit is {self.megapixels:g}",
            )
