"""Damage that decoders pass over in silence is told by the lengths that pixels must have."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import simplejpeg
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLosslessSV1

from cxrloc.datasets.dicom.streams import lossless_fault
from cxrloc.datasets.images.read import UnreadableImageError, decode_image, read_image
from datasets.dicom.builders import smooth_pixels, write_dicom

Pixels = npt.NDArray[np.uint8 | np.uint16]


def _pixels(bits: int) -> Pixels:
    """Smooth, with noise, and no dark border that would look like fill."""
    noise = np.random.default_rng(0).integers(0, 9, (48, 40))
    pixels = np.clip(smooth_pixels(bits) + noise, 1, 2**bits - 1)
    return np.asarray(pixels, np.uint8) if bits <= 8 else np.asarray(pixels, np.uint16)


def _refusal(data: bytes) -> str:
    with pytest.raises(UnreadableImageError) as error:
        decode_image(data, Path("a.dcm"))
    return str(error.value)


@pytest.mark.parametrize("count", [1, 2, 64])
def test_bytes_put_into_uncompressed_pixels_are_told(tmp_path: Path, count: int) -> None:
    data = write_dicom(tmp_path / "a.dcm", _pixels(12), bits=12).read_bytes()
    middle = len(data) - 2000
    said = _refusal(data[:middle] + b"\7" * count + data[middle:])
    assert f"{count} bytes after the pixels are no attributes" in said or "damaged DICOM" in said


def test_attributes_and_fill_after_the_pixels_are_no_damage(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", _pixels(12), bits=12)
    right = read_image(path)
    data = path.read_bytes()
    header = pydicom.dcmread(path)
    header.private_block(0x7FE1, "MAKER", create=True).add_new(1, "UV", 2**40)
    header.add_new(0xFFFCFFFC, "OB", bytes(50))  # Data Set Trailing Padding
    header.save_as(path)
    padded, filled = read_image(path), decode_image(data + bytes(10), path)
    np.testing.assert_array_equal(padded.pixels, right.pixels)
    np.testing.assert_array_equal(filled.pixels, right.pixels)
    assert padded.warnings == right.warnings
    assert any("10 surplus bytes after the pixels" in warning for warning in filled.warnings)


@pytest.mark.parametrize("name", ["JPEG lossless", "JPEG-LS", "JPEG 2000 lossless", "RLE"])
@pytest.mark.parametrize("change", ["put in", "left out"])
def test_items_of_other_lengths_than_stated_are_told(
    tmp_path: Path, transcode: Callable[[Path, str], Path], name: str, change: str
) -> None:
    data = transcode(write_dicom(tmp_path / "a.dcm", _pixels(12), bits=12), name).read_bytes()
    middle = len(data) - 500
    changed = data[:middle] + b"\7\7" + data[middle:]
    said = _refusal(changed if change == "put in" else data[:middle] + data[middle + 2 :])
    assert "damaged" in said or "truncated" in said or "cannot decode" in said


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_a_bit_that_shifts_a_lossless_jpeg_is_told(
    tmp_path: Path, transcode: Callable[[Path, str], Path], bits: int
) -> None:
    path = transcode(write_dicom(tmp_path / "a.dcm", _pixels(bits), bits=bits), "JPEG lossless")
    data, right = path.read_bytes(), read_image(path).pixels
    outcomes = []
    for place in range(len(data) - 900, len(data) - 300, 7):
        changed = data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]
        try:
            pixels = decode_image(changed, path).pixels
        except UnreadableImageError:
            outcomes.append("refused")
        else:
            shifted = (np.abs(pixels.astype(int) - right) > 4).sum() > 100
            outcomes.append("shifted" if shifted else "read")
    assert outcomes.count("shifted") <= 2  # the rest of the stream may happen to fit
    assert outcomes.count("refused") >= 5  # others change a value and nothing after it


def test_a_run_length_that_shifts_the_rest_is_told(
    tmp_path: Path, transcode: Callable[[Path, str], Path]
) -> None:
    path = transcode(write_dicom(tmp_path / "a.dcm", _pixels(8)), "RLE")
    data = path.read_bytes()
    segment = data.index(struct.pack("<2I", 1, 64)) + 64  # the first run's own byte
    changed = data[:segment] + bytes([data[segment] ^ 4]) + data[segment + 1 :]
    assert "damaged: RLE segment 1 holds" in _refusal(changed)


@pytest.mark.parametrize("predictor", range(1, 8))
def test_the_bits_of_a_lossless_jpeg_are_counted_for_every_predictor(predictor: int) -> None:
    pixels = _pixels(8)
    stream = _lossless(pixels, predictor)
    np.testing.assert_array_equal(simplejpeg.decode_jpeg(stream, "GRAY")[:, :, 0], pixels)
    header = pydicom.Dataset()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    header.PixelData = encapsulate([stream])
    assert lossless_fault(header, pixels) is None
    other = pixels.copy()
    other[20:, :] ^= 16
    assert "bits, its stream has" in (lossless_fault(header, other) or "")


def _lossless(pixels: Pixels, predictor: int) -> bytes:
    """A lossless JPEG by T.81, annex H; each of its 17 categories has a code of five bits."""
    height, width = pixels.shape
    bits = []
    for y in range(height):
        for x in range(width):
            difference = int(pixels[y, x]) - _predicted(pixels, y, x, predictor)
            size = abs(difference).bit_length()
            value = difference if difference > 0 else difference + 2**size - 1
            bits.append(f"{size:05b}" + (f"{value:0{size}b}" if size else ""))
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    coded = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")
    table = bytes([0, 0, 0, 0, 0, 17, *[0] * 11, *range(17)])
    frame = struct.pack(">BHHBBBB", 8, height, width, 1, 1, 0x11, 0)
    segments = ((0xC3, frame), (0xC4, table), (0xDA, bytes([1, 1, 0, predictor, 0, 0])))
    parts = [struct.pack(">BBH", 0xFF, mark, len(body) + 2) + body for mark, body in segments]
    return b"\xff\xd8" + b"".join(parts) + coded + b"\xff\xd9"


def _predicted(pixels: Pixels, y: int, x: int, predictor: int) -> int:
    if not y:
        return int(pixels[y, x - 1]) if x else 128
    above = int(pixels[y - 1, x])
    if not x:
        return above
    left, corner = int(pixels[y, x - 1]), int(pixels[y - 1, x - 1])
    return (
        left,
        above,
        corner,
        left + above - corner,
        left + ((above - corner) >> 1),
        above + ((left - corner) >> 1),
        (left + above) >> 1,
    )[predictor - 1]
