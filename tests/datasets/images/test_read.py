"""Reading pixels: every kind of grey, and every way of being unreadable."""

from __future__ import annotations

import pickle
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from cxrloc.datasets.images.markers import without_markers
from cxrloc.datasets.images.pixel_cache import PixelCache
from cxrloc.datasets.images.read import (
    UnreadableImageError,
    print_left_out,
    read_grey,
    read_image,
    read_radiograph,
    readable_images,
)
from cxrloc.datasets.images.transforms import fit_square
from cxrloc.datasets.radiograph import Radiograph
from datasets.dicom.builders import write_dicom
from datasets.images.formats.builders import png

RNG = np.random.Generator(np.random.PCG64(7))
NOISE = RNG.integers(0, 256, (40, 30), dtype=np.uint8)


def saved(path: Path, pixels: npt.NDArray[np.integer[Any] | np.floating[Any]]) -> Path:
    assert cv2.imwrite(str(path), pixels)
    return path


def test_a_grey_png_is_read_as_it_is(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_grey(saved(tmp_path / "a.png", NOISE)), NOISE)


def test_equal_colour_channels_keep_their_value(tmp_path: Path) -> None:
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    path = saved(tmp_path / "rgb.png", np.dstack([every] * 3))
    np.testing.assert_array_equal(read_grey(path), every)


def test_alpha_is_ignored_even_where_it_is_zero(tmp_path: Path) -> None:
    alpha = np.zeros_like(NOISE)
    path = saved(tmp_path / "rgba.png", np.dstack([NOISE, NOISE, NOISE, alpha]))
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels, NOISE)
    assert "Transparent in 100.0% of the pixels: read as if it were opaque." in image.warnings
    opaque = np.full_like(NOISE, 255)
    saved(path, np.dstack([NOISE, NOISE, NOISE, opaque]))
    assert not any("Transparent" in warning for warning in read_image(path).warnings)


def test_colours_become_luminance(tmp_path: Path) -> None:
    blue_green_red = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    grey = read_grey(saved(tmp_path / "colour.png", blue_green_red))
    assert grey.tolist() == [[29, 150, 76]]  # 0.114, 0.587, 0.299 of 255


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 128, 255], [0, 128, 255]),
        ([0, 512, 1023], [0, 128, 255]),  # 512 * 255 / 1023 = 127.6
        ([0, 4096, 16383], [0, 64, 255]),  # 63.75
        ([0, 256, 65535], [0, 1, 255]),  # 0.996
        ([1000, 1500, 3000], [0, 64, 255]),  # from the darkest pixel on
        ([0, 0, 0], [0, 0, 0]),
    ],
)
def test_sixteen_bit_files_are_stretched_over_their_own_range(
    tmp_path: Path, values: list[int], expected: list[int]
) -> None:
    path = saved(tmp_path / "deep.png", np.array([values], np.uint16))
    assert read_grey(path).tolist() == [expected]


def test_a_sixteen_bit_rgba_file_becomes_grey(tmp_path: Path) -> None:
    pixels = np.full((2, 2, 4), 4095, np.uint16)
    pixels[0, 0] = 0
    assert read_grey(saved(tmp_path / "deep.png", pixels)).tolist() == [[0, 255], [255, 255]]


def _deep_chest(size: int = 200) -> npt.NDArray[np.uint16]:
    """12-bit values from 200 to 3500, as a detector of 12 bits stores them."""
    rows, columns = np.mgrid[0:size, 0:size] / (size - 1)
    values = np.rint(200 + 3300 * (0.7 * rows + 0.3 * np.abs(2 * columns - 1)))
    return np.asarray(values, dtype=np.uint16)


@pytest.mark.parametrize(
    ("value", "share"),
    [(4095, 0.0005), *((v, s) for v in (16383, 65535) for s in (0.00003, 0.0005, 0.015))],
)
def test_hot_pixels_and_burnt_in_letters_do_not_darken_a_deep_image(
    tmp_path: Path, value: int, share: float
) -> None:
    pixels = _deep_chest()
    plain = read_grey(saved(tmp_path / "plain.png", pixels))
    marked = pixels.copy()
    count = round(share * pixels.size)
    marked.reshape(-1)[-count:] = value
    seen = read_grey(saved(tmp_path / "marked.png", marked))
    unmarked = marked == pixels
    assert np.abs(seen.astype(int) - plain)[unmarked].max() <= 5
    assert (seen[~unmarked] == 255).all()


def test_a_deep_png_is_the_same_image_as_a_dicom_file_of_its_values(tmp_path: Path) -> None:
    pixels = _deep_chest()
    pixels[:3, :3] = 4095
    png = read_image(saved(tmp_path / "a.png", pixels))
    dicom = read_image(write_dicom(tmp_path / "a.dcm", pixels, bits=12))
    np.testing.assert_array_equal(png.pixels, dicom.pixels)
    assert png.deep is not None
    assert dicom.deep is not None
    np.testing.assert_array_equal(png.deep, dicom.deep)
    assert len(np.unique(png.deep)) > 256
    np.testing.assert_array_equal(np.rint(png.deep / 257), png.pixels)


def test_eight_bits_have_no_deeper_grey_and_an_inverted_image_has(tmp_path: Path) -> None:
    assert read_image(saved(tmp_path / "a.png", NOISE)).deep is None
    assert read_image(write_dicom(tmp_path / "a.dcm", NOISE)).deep is None
    full = {"WindowCenter": 2040, "WindowWidth": 4080, "VOILUTFunction": "LINEAR_EXACT"}
    same = read_image(write_dicom(tmp_path / "c.dcm", NOISE.astype(np.uint16) * 16, full, bits=12))
    np.testing.assert_array_equal(same.pixels, NOISE)
    assert same.deep is None  # 12 bits that hold 8
    window = {"WindowCenter": 2048, "WindowWidth": 4096, "VOILUTFunction": "LINEAR_EXACT"}
    stored = np.array([[0, 1024], [2048, 4095]], np.uint16)
    turned = {"PhotometricInterpretation": "MONOCHROME1", "PixelPaddingValue": 4095}
    image = read_image(write_dicom(tmp_path / "b.dcm", stored, {**window, **turned}, bits=12))
    assert image.deep is not None
    assert image.deep.tolist() == [[65535, 49151], [32768, 0]]  # the last is padding
    assert image.pixels.tolist() == [[255, 191], [128, 0]]


@pytest.mark.parametrize("how", ["keep", "mask", "inpaint"])
def test_every_way_to_a_network_keeps_twelve_bits_up_to_its_square(
    tmp_path: Path, how: str
) -> None:
    values = np.random.default_rng(0).uniform(1500, 1700, (64, 64))
    values[:2] = [[0], [4095]]
    values[10:14, 4:6] = values[13:14, 4:9] = 4095  # an L
    path = saved(tmp_path / "a.png", values.astype(np.uint16))
    image = without_markers(read_image(path), how)
    assert image.deep is not None
    listed = Radiograph("a", path, "p", "", {}, size_hw=(64, 64))
    square = PixelCache.open([listed], 32, tmp_path / "cache", workers=1, markers=how)["a"]
    expected = np.rint(cv2.resize(image.deep, (32, 32), interpolation=cv2.INTER_AREA) / 257)
    np.testing.assert_array_equal(square, expected)
    assert (square != fit_square(image.pixels, 32)).any()
    again = without_markers(read_radiograph(listed), how)
    np.testing.assert_array_equal(fit_square(again.finest, 32), square)


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    palette = bytes([10, 10, 10, 200, 200, 200, 90, 90, 90])
    rows = zlib.compress(bytes([0, 1, 0, 2]))  # no filter; entries 1, 0, 2
    path = tmp_path / "palette.png"
    path.write_bytes(png(rows, (b"PLTE", palette), size=(3, 1), colour=3))
    assert read_grey(path).tolist() == [[200, 10, 90]]


@pytest.mark.parametrize(
    "options", [[], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]]
)
def test_jpegs_of_each_kind_are_read(tmp_path: Path, options: list[int]) -> None:
    smooth = np.tile(np.arange(0, 160, 2, dtype=np.uint8), (64, 1))
    path = tmp_path / "a.jpg"
    assert cv2.imwrite(str(path), smooth, options)
    assert np.abs(read_grey(path).astype(int) - smooth).max() <= 4


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("kept", [1, 4, 9, 100, 0.3, 0.5, 0.9, 0.99, -12, -2, -1])
def test_a_truncated_file_is_an_error_at_whatever_length(
    tmp_path: Path, suffix: str, kept: float
) -> None:
    path = saved(tmp_path / f"image.{suffix}", NOISE)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    with pytest.raises(UnreadableImageError, match="truncated") as error:
        read_grey(path)
    assert str(path) in str(error.value)


def test_a_truncated_progressive_jpeg_with_a_whole_thumbnail_is_still_truncated(
    tmp_path: Path,
) -> None:
    _, small = cv2.imencode(".jpg", NOISE[:8, :8])
    _, large = cv2.imencode(".jpg", NOISE, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    segment = b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small.tobytes()
    whole = large.tobytes()[:2] + segment + large.tobytes()[2:]
    path = tmp_path / "image.jpg"
    path.write_bytes(whole)
    assert read_grey(path).shape == NOISE.shape
    path.write_bytes(whole[:-200])
    with pytest.raises(UnreadableImageError, match="truncated JPEG"):
        read_grey(path)


def test_bytes_after_the_end_marker_do_no_harm(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", NOISE)
    path.write_bytes(path.read_bytes() + b"\0" * 10)
    np.testing.assert_array_equal(read_grey(path), NOISE)


def test_a_flipped_bit_in_a_png_is_found_by_its_checksum(tmp_path: Path) -> None:
    path = saved(tmp_path / "image.png", NOISE)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(UnreadableImageError, match="wrong checksum of chunk b'IDAT'"):
        read_grey(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"a page of text", "not an image, or of an unknown format; expected PNG, JPEG or DICOM"),
        (b"\xff\xd8\xff\xd9", "damaged JPEG: no image that can be decoded"),
        (b"II*\x00" + bytes(20), "a TIFF file; expected PNG, JPEG or DICOM"),
        (b"MM\x00*" + bytes(20), "a TIFF file"),
        (b"BM" + bytes(60), "a BMP file"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "a WebP file"),
        (b"II+\x00\x08\x00" + bytes(20), "a TIFF file"),  # BigTIFF
        (b"\x00\x00\x00\x1cftypheic" + bytes(20), "a HEIF, AVIF or video file"),
        (b"\xff\x0a" + bytes(20), "a JPEG XL file"),
        (b"\n<!DOCTYPE HTML><html>Sign in", "a web page file"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer file"),
        (b"\xff\xd8 and no marker", "damaged JPEG: no marker at byte 2"),
    ],
)
def test_a_file_that_is_no_image_says_why(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(content)
    with pytest.raises(UnreadableImageError, match=reason):
        read_grey(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match=r"none\.png: No such file"):
        read_grey(tmp_path / "none.png")
    with pytest.raises(UnreadableImageError, match="cannot read image"):
        read_grey(tmp_path)


def test_the_error_passes_between_processes() -> None:
    error = pickle.loads(pickle.dumps(UnreadableImageError(Path("a.png"), "why")))
    assert (str(error), error.reason) == ("cannot read image a.png: why", "why")


def test_unreadable_images_are_handed_on_and_the_rest_read_one_by_one(tmp_path: Path) -> None:
    paths = [
        saved(tmp_path / "a.png", NOISE),
        tmp_path / "gone.png",
        saved(tmp_path / "b.png", NOISE),
    ]
    failures: list[tuple[str, str]] = []
    images = readable_images(paths, read_image, lambda p, e: failures.append((p.name, str(e))))
    path, image = next(images)
    assert (path.name, image.image_id, failures) == ("a.png", "a.png", [])
    assert [path.name for path, _ in images] == ["b.png"]
    ((name, reason),) = failures
    assert name == "gone.png"
    assert "No such file" in reason


def test_whoever_wants_to_stop_at_an_unreadable_image_raises_its_error(tmp_path: Path) -> None:
    def stop(path: Path, error: ValueError) -> None:
        raise error

    with pytest.raises(UnreadableImageError, match="gone"):
        list(readable_images([tmp_path / "gone.png"], read_image, stop))


def test_a_listed_radiograph_keeps_what_its_data_set_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = Radiograph("1/a.png", saved(tmp_path / "a.png", NOISE), "p1", "PA", {}, size_hw=(80, 60))
    gone = replace(here, image_id="1/b.png", path=tmp_path / "b.png")
    ((radiograph, image),) = readable_images([gone, here], read_radiograph, print_left_out)
    assert radiograph is here
    assert (image.image_id, image.patient_id, image.size_hw) == ("1/a.png", "p1", (80, 60))
    assert "left out 1/b.png: cannot read image" in capsys.readouterr().out
