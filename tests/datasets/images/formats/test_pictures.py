"""PNG and JPEG: what a decoder says of damage, and images that must be turned."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from cxrloc.datasets.images.read import UnreadableImageError, decode_image, read_image

HERE = Path("image.jpg")
_DICE = np.random.default_rng(3)
CHEST = cv2.GaussianBlur(_DICE.integers(0, 256, (160, 128), dtype=np.uint8), (0, 0), 2)
CHEST = np.interp(CHEST, (CHEST.min(), CHEST.max()), (0, 255)).astype(np.uint8)


def jpeg(*options: int) -> bytes:
    return bytes(cv2.imencode(".jpg", CHEST, list(options))[1].tobytes())


def refusal(data: bytes) -> str:
    with pytest.raises(UnreadableImageError) as error:
        decode_image(data, HERE)
    return str(error.value)


@pytest.mark.parametrize("progressive", [0, 1])
def test_half_a_scan_with_an_end_marker_is_refused(progressive: int) -> None:
    whole = jpeg(cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    for kept in (0.5, 0.8, 0.97):
        assert "JPEG" in refusal(whole[: int(kept * len(whole))] + b"\xff\xd9")


@pytest.mark.parametrize(
    ("marker", "bits", "kind"),
    [(0xC1, 12, "JPEG of 12 bits"), (0xC3, 16, "JPEG of 16 bits"), (0xF7, 8, "JPEG-LS")],
)
def test_a_jpeg_of_another_kind_is_named_and_not_called_damaged(
    marker: int, bits: int, kind: str
) -> None:
    frame = struct.pack(">BHHBBBB", bits, 8, 8, 1, 1, 0x11, 0)
    head = b"\xff\xd8\xff" + struct.pack(">BH", marker, len(frame) + 2) + frame
    assert f"a file of {kind}" in refusal(head + b"\xff\xd9")


def test_a_progressive_jpeg_without_its_last_scans_is_refused() -> None:
    whole = jpeg(cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    scans = [i for i in range(len(whole) - 1) if whole[i : i + 2] == b"\xff\xda"]
    assert len(scans) > 2
    assert decode_image(whole, HERE).pixels.shape == CHEST.shape
    for start in scans[1:]:
        tables = whole.rfind(b"\xff\xc4", 0, start)  # a scan's own Huffman table goes before it
        cut = tables if whole[tables:start].count(b"\xff\xda") == 0 else start
        assert "components lack scans" in refusal(whole[:cut] + b"\xff\xd9")


@pytest.mark.parametrize("kind", ["cut out", "put in", "zeroed"])
def test_damage_that_the_decoder_tells_of_is_refused(kind: str) -> None:
    whole, middle = jpeg(), len(jpeg()) // 2
    noise = bytes(_DICE.integers(1, 255, 40, dtype=np.uint8))
    changed = {
        "cut out": whole[:middle] + whole[middle + 400 :],
        "put in": whole[:middle] + noise + whole[middle:],
        "zeroed": whole[:middle] + bytes(300) + whole[middle + 300 :],
    }
    assert "damaged JPEG: Corrupt JPEG data" in refusal(changed[kind])


@pytest.mark.parametrize("fill", [b"\0" * 12, b"\r\n"])
def test_fill_before_or_after_the_end_marker_does_no_harm(fill: bytes) -> None:
    whole = jpeg()
    for data in (whole[:-2] + fill + whole[-2:], whole + fill):
        np.testing.assert_array_equal(
            decode_image(data, HERE).pixels, decode_image(whole, HERE).pixels
        )


def test_a_jpeg_in_colour_is_read_as_opencv_reads_it() -> None:
    colour = _DICE.integers(0, 256, (5, 4, 3), dtype=np.uint8)
    data = cv2.imencode(".jpg", cv2.resize(colour, (64, 80)))[1].tobytes()
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), 1)
    assert decoded is not None
    expected = cv2.cvtColor(decoded, cv2.COLOR_BGR2GRAY)
    image = decode_image(data, HERE)
    np.testing.assert_array_equal(image.pixels, expected)
    assert "An image in colour" in image.warnings[0]


def four_inks(*, inverted: bool = True) -> bytes:
    """Inverted as Adobe's programs and Pillow store them, or plain and without Adobe's segment."""
    black = Image.fromarray(255 - CHEST if inverted else CHEST)
    others = [Image.new("L", black.size, 0 if inverted else 255)] * 3
    file = io.BytesIO()
    Image.merge("CMYK", (*others, black)).save(file, "JPEG", quality=95)  # stores 255 - value
    data = file.getvalue()
    start = data.find(b"\xff\xee\x00\x0eAdobe")
    return data if inverted else data[:start] + data[start + 16 :]


@pytest.mark.parametrize("inverted", [True, False])
def test_a_jpeg_of_four_inks_is_read(inverted: bool) -> None:
    read = decode_image(four_inks(inverted=inverted), HERE).pixels
    assert np.abs(read.astype(int) - CHEST).mean() < 4


def test_damage_in_a_jpeg_of_four_inks_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    whole = four_inks()
    middle = len(whole) // 2
    assert "Corrupt JPEG data" in refusal(whole[:middle] + bytes(300) + whole[middle + 300 :])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_upright_as_viewers_do(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    upright = np.zeros((96, 64), dtype=np.uint8)
    upright[:48, :32] = 200  # bright at the top left
    upright[:16, :16] = 90
    back = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}  # what undoes each
    stored = Image.fromarray(upright)
    if orientation > 1:
        stored = _turned(stored, back[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    options: dict[str, Any] = {"quality": 95} if suffix == "jpg" else {}
    stored.save(path, exif=exif, **options)
    image = read_image(path)
    assert image.size_hw == (96, 64)
    assert np.abs(image.pixels.astype(int) - upright).mean() < 2
    told = [w for w in image.warnings if f"EXIF orientation {orientation}" in w]
    assert len(told) == (orientation > 1)


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    """Turned as EXIF's orientation tells a viewer to, by Pillow."""
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif)
    return ImageOps.exif_transpose(Image.open(file))
