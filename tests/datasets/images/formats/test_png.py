"""PNG: what libpng would write to standard error is a sentence about the image, or harmless."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from cxrloc.datasets.images.pixel_cache import PixelCache
from cxrloc.datasets.images.read import UnreadableImageError, decode_image, read_image
from cxrloc.datasets.radiograph import Radiograph
from datasets.images.formats.builders import Chunk, png

ROW = bytes([0, 10, 20, 30])  # no filter
GREYS = [[10, 20, 30], [10, 20, 30]]

PIXELS = zlib.compress(ROW * 2)
PALETTE: Chunk = (b"PLTE", bytes([10, 10, 10, 20, 20, 20, 30, 30, 30]))
HARMLESS = {
    "a profile of grey in an image of colours": png(
        zlib.compress(b"".join(bytes([0, *[10] * 3, *[20] * 3, *[30] * 3]) for _ in range(2))),
        (b"iCCP", b"ICC Profile\0\0" + zlib.compress(bytes(16) + b"GRAYXYZ " + bytes(108))),
        colour=2,
    ),
    "a profile that is cut off": png(PIXELS, (b"iCCP", b"x\0\0")),
    "gamma, said twice": png(PIXELS, *[(b"gAMA", struct.pack(">I", 45455))] * 2),
    "transparency out of form": png(PIXELS, (b"tRNS", b"\0")),
    "a palette in a grey image": png(PIXELS, PALETTE),
    "text that is no text": png(PIXELS, (b"zTXt", b"\0\0\0")),
    "a time that is none": png(PIXELS, (b"tIME", b"\xff" * 3)),
    "bytes after the packed pixels": png(PIXELS + bytes(3)),
    "a row of zeros after the last": png(zlib.compress(ROW * 2 + bytes(4))),
    "its palette": png(zlib.compress(bytes([0, 0, 1, 2]) * 2), PALETTE, (b"tRNS", b"\0"), colour=3),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_changes_no_pixel_is_read_in_silence(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    image = decode_image(HARMLESS[name], Path("a.png"))
    assert image.pixels.tolist() == GREYS
    assert capfd.readouterr().err == ""
    assert any("Surplus zeros" in warning for warning in image.warnings) == ("after" in name)


SHOWN_OTHERWISE = {
    "a gamma of 1, which is not applied": (b"gAMA", struct.pack(">I", 100_000)),
    "declared transparent": (b"tRNS", b"\0\x0a"),
}


@pytest.mark.parametrize("words", SHOWN_OTHERWISE)
def test_what_some_viewers_show_otherwise_is_said(words: str) -> None:
    image = decode_image(png(PIXELS, SHOWN_OTHERWISE[words]), Path("a.png"))
    assert image.pixels.tolist() == GREYS
    assert any(words in warning for warning in image.warnings)
    usual = png(PIXELS, (b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 45455)), (b"tRNS", b""))
    assert (
        decode_image(usual, Path("a.png")).warnings
        == decode_image(png(PIXELS), Path("a.png")).warnings
    )


DAMAGED = {
    "truncated PNG: 4 of 8 bytes of pixels": png(zlib.compress(ROW)),
    "truncated PNG: 8 of 8 bytes": png(PIXELS[:-2]),
    "holds more than its 8 bytes of pixels": png(zlib.compress(ROW * 5)),
    r"cannot be inflated \(Error -3": png(b"\x78\x9c" + b"\xff" * 20),
    "incorrect data check": png(PIXELS[:-1] + b"\0"),
    "a filter that does not exist": png(zlib.compress(bytes([9, 1, 2, 3]) * 2)),
    "0 chunks b'PLTE'": png(PIXELS, colour=3),
    "needs a chunk b'ABCD'": png(PIXELS, (b"ABCD", b"")),
    "as Apple packs it": png(PIXELS, (b"CgBI", b"\0" * 4)),
    "an animated PNG of 2 frames": png(PIXELS, (b"acTL", struct.pack(">II", 2, 0))),
    "states a size of 0 x 2": png(PIXELS, size=(0, 2)),
    "states a size of 2000000 x 1": png(PIXELS, size=(2_000_000, 1)),
    "expected at most 100,000,000 in total": png(PIXELS, size=(60_000, 60_000)),
    "states 5 bits": png(PIXELS, depth=5),
}


@pytest.mark.parametrize("reason", DAMAGED)
def test_damage_behind_right_checksums_is_refused_in_one_sentence(
    reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UnreadableImageError, match=reason) as error:
        decode_image(DAMAGED[reason], Path("a.png"))
    assert "a.png" in str(error.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_few_bits_are_spread_over_all_greys(depth: int) -> None:
    most = 2**depth - 1
    bits = f"{most:0{depth}b}{0:0{depth}b}{1:0{depth}b}".ljust(16, "0")
    row = bytes([0, *int(bits, 2).to_bytes(2, "big")])[: 1 + (3 * depth + 7) // 8]
    image = decode_image(png(zlib.compress(row * 2), depth=depth), Path("a.png"))
    assert image.pixels.tolist() == [[255, 0, 255 // most]] * 2


@pytest.mark.parametrize("size", [(5, 7), (1, 1), (9, 2)])
def test_interlaced_rows_come_to_their_places(size: tuple[int, int]) -> None:
    width, height = size
    whole = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    starts = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
    parts = [whole[y::down, x::right] for x, y, right, down in (*starts, (0, 1, 1, 2))]
    rows = b"".join(b"\0" + bytes(row) for part in parts if part.size for row in part)
    data = png(zlib.compress(rows), size=size, interlaced=1)
    np.testing.assert_array_equal(decode_image(data, Path("a.png")).pixels, whole)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_pixels_are_those_that_opencv_reads_from_the_whole_file(
    tmp_path: Path, channels: int, kind: type[np.uint8 | np.uint16]
) -> None:
    pixels = np.random.default_rng(1).integers(0, np.iinfo(kind).max, (20, 30, channels), kind)
    path = tmp_path / "a.png"
    assert cv2.imwrite(str(path), pixels)
    read = read_image(path)
    colours = pixels[:, :, :3]
    grey = colours[:, :, 0] if channels == 1 else cv2.cvtColor(colours, cv2.COLOR_BGR2GRAY)
    if kind is np.uint8:
        np.testing.assert_array_equal(read.pixels, grey)
    else:
        assert np.corrcoef(read.finest.ravel(), np.asarray(grey).ravel())[0, 1] > 0.999


def test_sixteen_bits_with_alpha_are_the_same_image_as_without(tmp_path: Path) -> None:
    """12-bit values, shifted left by 4 as some programs store them."""
    values = (np.array([[0, 701, 1399], [2100, 2801, 3500]]) << 4).astype(">u2")
    alpha = np.array([[0, 1, 65535]] * 2, dtype=">u2")
    rows = [
        b"\0" + np.stack([v, a], axis=1).astype(">u2").tobytes()
        for v, a in zip(values, alpha, strict=True)
    ]
    with_alpha = png(zlib.compress(b"".join(rows)), depth=16, colour=4)
    plain = zlib.compress(b"".join(b"\0" + row.tobytes() for row in values))
    first, second = (
        decode_image(data, Path("a.png")) for data in (with_alpha, png(plain, depth=16))
    )
    assert first.pixels.tolist() == second.pixels.tolist() == [[0, 51, 102], [153, 204, 255]]
    assert first.deep is not None
    assert first.deep.tolist() == [[0, 13126, 26195], [39321, 52447, 65535]]


def test_the_pixel_cache_says_nothing_of_a_profile_and_names_a_damaged_image(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    listed = []
    for number, data in enumerate([*HARMLESS.values(), *DAMAGED.values()]):
        path = tmp_path / f"{number}.png"
        path.write_bytes(data)
        listed.append(Radiograph(path.name, path, "p", "", {}, size_hw=(2, 3)))
    cache = PixelCache.open(listed, 4, tmp_path / "cache", workers=2)
    said = capfd.readouterr()
    assert len(cache) == len(HARMLESS)
    assert sum("left out" in line for line in said.out.splitlines()) == len(DAMAGED)
    assert "libpng" not in said.out + said.err
