"""Uploaded bytes to a film, in a process of its own.

Decoders are C++, and some end their process over a damaged file: GDCM does so over a JPEG-LS film
whose header claims more columns than its stream has. The server must not end with it.
"""

from __future__ import annotations

import multiprocessing
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from cxrloc.datasets.image_files import UnreadableImageError, decode_film
from cxrloc.datasets.radiograph import Film
from cxrloc.tools.server.image_headers import base_name, claimed_sizes
from cxrloc.tools.server.limits import Limits
from cxrloc.tools.server.problems import ProblemError


@dataclass(frozen=True)
class Upload:
    """One file as it came: its last name and its bytes."""

    name: str
    data: bytes

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", base_name(self.name))


def read_film(upload: Upload, limits: Limits) -> Film:
    """The film of an upload; its size is checked before anything is decoded.

    Raises:
        ProblemError: 413 too large, 415 of another kind, 422 damaged or not a film.
    """
    limits.check_bytes(len(upload.data))
    for width, height in claimed_sizes(upload.data):
        limits.check_pixels(width, height)
    try:
        return decode_film(upload.data, Path(upload.name))
    except UnreadableImageError as error:
        raise ProblemError(422, error.reason) from error


class Decoder:
    """`read_film` in a child process, begun by the first film; for one thread.

    A child that ends over a file, or works longer than `limits.seconds` on it, is replaced.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._child: BaseProcess | None = None
        self._pipe: Connection | None = None

    def __call__(self, upload: Upload) -> Film:
        """The film; raises as `read_film`, and 422 where the child did not answer."""
        try:
            answer = self._asked(upload)
        except (EOFError, OSError) as error:
            self.close()
            raise ProblemError(
                422, "damaged: the program that decodes films broke down on this file"
            ) from error
        if isinstance(answer, Film):
            return answer
        raise answer

    def close(self) -> None:
        """End the child."""
        if self._child is not None and self._pipe is not None:
            self._child.kill()
            self._child.join()
            self._pipe.close()
        self._child = self._pipe = None

    def _asked(self, upload: Upload) -> Film | ProblemError:
        pipe = self._pipe or self._begin()
        pipe.send((upload, self.limits))
        if not pipe.poll(self.limits.seconds):
            raise EOFError
        answer: Film | ProblemError = pipe.recv()
        return answer

    def _begin(self) -> Connection:
        context = multiprocessing.get_context("spawn")  # a fork would copy torch's threads' locks
        self._pipe, far = context.Pipe()
        self._child = context.Process(target=_answer, args=(far,), daemon=True)
        self._child.start()
        far.close()  # the child's end alone is left, so that its death is heard
        return self._pipe


def _answer(pipe: Connection) -> None:
    """The child: films for uploads, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the server, which ends the child
    while True:
        try:
            upload, limits = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(read_film(upload, limits))
        except ProblemError as error:
            pipe.send(error)
