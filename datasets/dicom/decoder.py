"""Decode compressed pixels in a separate process, one per reading thread.

Damaged streams make the decoders' C++ code abort, loop for minutes or take all memory (found by
mutating real files), and 20 MB of RLE can unfold to more than 1 GB. In the main process that would
end a run over 100,000 images, or a server. Here it costs only the decoding process: the image is
refused and the next one gets a new process. The first compressed image starts a process (half a
second); later images reuse it.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import logging
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pydicom import Dataset

TIMEOUT_S = 60.0
# Several times the pixels of the largest supported image; a stream that claims more ends here.
MEMORY_BYTES = 6 * 2**30
_LENGTH = struct.Struct(">Q")
_PIXELS, _ERROR = b"P", b"E"
# -P: otherwise modules in the current folder, such as a disc's, would shadow installed libraries
_COMMAND = (sys.executable, "-P", "-m", "cxrloc.datasets.dicom.decoder")


class Decoder:
    """A decoding process. One thread at a time may use it."""

    def __init__(self, command: Sequence[str] = _COMMAND) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl+C reaches us, not the image being decoded
        )

    def decode(self, data: bytes, seconds: float = TIMEOUT_S) -> npt.NDArray[np.integer]:
        """Decode the bytes of a DICOM file to stored values (H, W).

        Raises:
            ValueError: when the decoder reports damaged pixels.
            BrokenPipeError: when the decoder crashed or was stopped after `seconds`.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        timer = threading.Timer(seconds, self._process.kill)
        timer.start()
        try:
            _write(self._process.stdin, data)
            answer = _read(self._process.stdout)
        finally:
            timer.cancel()
        if answer is None:
            raise BrokenPipeError("the decoder ended")
        if answer[:1] == _ERROR:
            raise ValueError(answer[1:].decode())
        pixels: npt.NDArray[np.integer] = np.load(io.BytesIO(answer[1:]), allow_pickle=False)
        return pixels

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


_idle: list[Decoder] = []


def decode(data: bytes) -> npt.NDArray[np.integer]:
    """Decode the bytes of a compressed DICOM file to stored values (H, W), in another process.

    Raises:
        ValueError: when the pixels cannot be decoded.
    """
    try:
        decoder = _idle.pop()
    except IndexError:
        decoder = Decoder()
    try:
        pixels = decoder.decode(data)
    except OSError:
        decoder.close()
        raise ValueError(
            f"the decoder crashed, ran out of memory or took more than {TIMEOUT_S:g} s"
        ) from None
    except ValueError:
        _idle.append(decoder)
        raise
    except BaseException:  # interrupted: the answer is still in the pipe
        decoder.close()
        raise
    _idle.append(decoder)
    return pixels


def all_bits(header: Dataset) -> npt.NDArray[np.integer]:
    """Decode the pixels, with what lies above Bits Stored; raises errors of any type."""
    from pydicom.pixels.utils import pixel_array

    return np.asarray(pixel_array(header, raw=True, correct_unused_bits=False))


def _close_all() -> None:
    while _idle:
        _idle.pop().close()


atexit.register(_close_all)
# a forked process would share the pipes with its parent, so it starts its own decoders
os.register_at_fork(after_in_child=_idle.clear)


def _write(pipe: IO[bytes], data: bytes) -> None:
    pipe.write(_LENGTH.pack(len(data)))
    pipe.write(data)
    pipe.flush()


def _read(pipe: IO[bytes]) -> bytes | None:
    """One message; None when the other side has closed the pipe."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    data = pipe.read(length)
    return data if len(data) == length else None


def _serve() -> None:
    """Answer requests on standard input until it ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # keep the output of C++ code out of the answers
    _limit_memory()
    warnings.simplefilter("ignore")  # standard error is for the decoders' complaints
    logging.disable()
    # if the reader is killed, it cannot stop a decoder that loops, so the decoder has its own timer
    alarm = getattr(signal, "alarm", lambda seconds: None)  # not on Windows
    while (data := _read(sys.stdin.buffer)) is not None:
        alarm(int(TIMEOUT_S) + 5)
        answer = _answer(data)
        alarm(0)
        _write(answers, answer)


def _answer(data: bytes) -> bytes:
    from pydicom.uid import JPEGExtended12Bit

    from cxrloc.datasets.dicom.complaints import complaint
    from cxrloc.datasets.dicom.header import one_line, parse_header
    from cxrloc.datasets.dicom.streams import items_fault

    try:
        header, buffer = parse_header(data), io.BytesIO()
        extended = header.file_meta.TransferSyntaxUID == JPEGExtended12Bit
        deep = extended and header.BitsStored > 8
        if fault := items_fault(header):
            raise ValueError(fault)
        with _complaints() as said:
            pixels = _extended_jpeg(header) if deep else all_bits(header)
        if fault := complaint(said.getvalue().decode(errors="replace"), header.PixelData):
            raise ValueError(f"damaged: {fault}")
        if fault := _lossless_fault(header, pixels):
            raise ValueError(fault)
        np.save(buffer, pixels, allow_pickle=False)
    except Exception as error:  # every decoder raises its own types
        return _ERROR + one_line(error).encode()
    return _PIXELS + buffer.getvalue()


def _lossless_fault(header: Dataset, pixels: npt.NDArray[np.integer]) -> str | None:
    from cxrloc.datasets.dicom.streams import lossless_fault

    fault = lossless_fault(header, pixels)
    if fault and header.BitsStored < header.BitsAllocated:  # GDCM drops what lies above
        header.BitsStored, header.HighBit = header.BitsAllocated, header.BitsAllocated - 1
        fault = lossless_fault(header, all_bits(header))
    return fault


@contextlib.contextmanager
def _complaints() -> Iterator[io.BytesIO]:
    """Catch what C++ code writes to standard error."""
    said, kept = io.BytesIO(), os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            said.write(file.read(10_000))


def _extended_jpeg(header: Dataset) -> npt.NDArray[np.integer]:
    """Pixels (H, W) of 12-bit JPEG: GDCM can decode it, but pydicom does not ask it to."""
    import gdcm
    from pydicom.encaps import get_frame

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(get_frame(header.PixelData, 0, number_of_frames=1))
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    kind = gdcm.PhotometricInterpretation.GetPIType(header.PhotometricInterpretation)
    bits, signed = header.BitsStored, header.PixelRepresentation
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((header.Columns, header.Rows, 1))
    image.SetDataElement(element)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    image.SetPixelFormat(gdcm.PixelFormat(1, header.BitsAllocated, bits, bits - 1, signed))
    words = image.GetBuffer().encode("utf-8", "surrogateescape")
    return np.frombuffer(words, "<i2" if signed else "<u2").reshape(header.Rows, header.Columns)


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    _serve()
