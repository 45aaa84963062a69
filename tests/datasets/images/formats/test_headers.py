"""What a PNG or JPEG says of itself, without decoding it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cxrloc.datasets.images.formats.headers import jpeg_size, png_size, structural_fault

NOISE = np.random.default_rng(3).integers(0, 256, (40, 30), dtype=np.uint8)


def encoded(ending: str, *options: int) -> bytes:
    done, data = cv2.imencode(ending, NOISE, options)
    assert done
    return data.tobytes()


PNG, JPEG = encoded(".png"), encoded(".jpg")
PROGRESSIVE = encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
RESTARTS = encoded(".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 1)


def test_sizes_are_width_and_height() -> None:
    assert png_size(PNG) == (30, 40)
    for data in (JPEG, PROGRESSIVE, RESTARTS):
        assert jpeg_size(data) == (30, 40)
        assert structural_fault(data) is None


def test_the_frame_header_counts_and_not_a_thumbnails() -> None:
    """The thumbnail's markers lie inside a segment, which is stepped over as a whole."""
    thumbnail = JPEG.replace((40).to_bytes(2, "big") + (30).to_bytes(2, "big"), b"\0\4\0\3")
    assert jpeg_size(thumbnail) == (3, 4)
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    assert jpeg_size(JPEG[:2] + segment + JPEG[2:]) == (30, 40)
    assert structural_fault(JPEG[:2] + segment + JPEG[2:]) is None


def test_fill_bytes_and_markers_without_a_length_are_stepped_over() -> None:
    filled = JPEG[:2] + b"\xff\xff\xff\x01\xff\xd0" + JPEG[2:]
    assert jpeg_size(filled) == (30, 40)
    assert structural_fault(filled) is None


@pytest.mark.parametrize("data", [JPEG[:2], JPEG[:40], b"\xff\xd8\x00\x00", JPEG[:2] + b"\xff\xd9"])
def test_a_jpeg_without_a_frame_header_has_no_size(data: bytes) -> None:
    with pytest.raises(ValueError, match="damaged or truncated JPEG: no frame header"):
        jpeg_size(data)


@pytest.mark.parametrize("data", [PNG[:20], PNG[:12] + b"IDAT" + PNG[16:]])
def test_a_png_without_a_header_has_no_size(data: bytes) -> None:
    with pytest.raises(ValueError, match="damaged PNG: no header"):
        png_size(data)
