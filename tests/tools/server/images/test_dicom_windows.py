"""A DICOM film at chosen windows: the values that its file states, by the code that reads films."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import JPEGLSLossless

from cxrloc.datasets.dicom.reader import decode_dicom
from cxrloc.tools.server.images.dicom_windows import StoredFilm, Window, stored_film
from cxrloc.tools.server.page.images import shrunk

STORED = np.array([[0, 1000, 2000], [3000, 4000, 4095]], np.uint16)


def _film(write_dicom: Any, path: Path, **attributes: Any) -> tuple[StoredFilm, bytes]:
    data = write_dicom(path, STORED, bits=12, **attributes).read_bytes()
    film = stored_film(data, lambda pixels: pixels)
    assert film is not None
    return film, data


def test_a_window_is_in_the_values_after_the_modality_lut(write_dicom: Any, tmp_path: Path) -> None:
    given = {"VOILUTFunction": "LINEAR_EXACT", "RescaleIntercept": -1000, "RescaleSlope": 1}
    film, _ = _film(write_dicom, tmp_path / "a.dcm", **given)

    assert (film.low, film.high) == (-1000, 3095)
    # stored 2000 is 1000, the centre; 1000 and 3000 are the ends of the window
    assert film.grey(1000, 2000).tolist() == [[0, 0, 128], [255, 255, 255]]
    inverted, _ = _film(
        write_dicom, tmp_path / "b.dcm", PhotometricInterpretation="MONOCHROME1", **given
    )
    assert inverted.grey(1000, 2000).tolist() == [[255, 255, 128], [0, 0, 0]]


def test_the_windows_of_the_file_are_offered_and_give_what_reading_gives(
    write_dicom: Any, tmp_path: Path
) -> None:
    stated = {"WindowCenter": [1500, 3000], "WindowWidth": [2500, 400]}
    film, data = _film(write_dicom, tmp_path / "a.dcm", **stated)

    assert film.windows == [
        Window("window 1 of the file", 1500, 2500),
        Window("window 2 of the file", 3000, 400),
        Window("whole range", 2048, 4096),
    ]
    np.testing.assert_array_equal(film.grey(1500, 2500), decode_dicom(data, "a").pixels)


def test_the_whole_range_is_what_reading_gives_a_film_without_a_window(
    write_dicom: Any, tmp_path: Path
) -> None:
    film, data = _film(write_dicom, tmp_path / "a.dcm", WindowCenter=None, WindowWidth=None)

    [whole] = film.windows
    np.testing.assert_array_equal(
        film.grey(whole.center, whole.width), decode_dicom(data, "a").pixels
    )


@pytest.mark.parametrize(("center", "width"), [(100, 0.5), (100, -3), (100, np.nan), (np.inf, 9)])
def test_a_window_that_is_none_is_refused(
    write_dicom: Any, tmp_path: Path, center: float, width: float
) -> None:
    film, _ = _film(write_dicom, tmp_path / "a.dcm")
    with pytest.raises(ValueError, match="expected"):
        film.grey(center, width)


def test_a_large_film_of_signed_bytes_is_made_smaller(write_dicom: Any, tmp_path: Path) -> None:
    pixels = np.array([[-100, 50]] * 2, np.int8)
    data = write_dicom(tmp_path / "a.dcm", pixels).read_bytes()
    film = stored_film(data, partial(shrunk, side=1))

    assert film is not None
    assert film.values.tolist() == [[-25]]


def test_bits_above_those_stored_have_no_part_in_a_smaller_film(
    write_dicom: Any, tmp_path: Path
) -> None:
    overlaid = [[0xF100, 0x0300]]  # in the upper bits of one
    pixels = np.repeat(overlaid * 16, 8, axis=1).astype(np.uint16)
    path = write_dicom(tmp_path / "a.dcm", pixels, bits=16, syntax=JPEGLSLossless)
    header = dcmread(path)
    header.BitsStored, header.HighBit = 12, 11
    header.save_as(path)
    film = stored_film(path.read_bytes(), partial(shrunk, side=1))

    assert film is not None
    assert film.values.tolist() == [[0x0200]]


def test_other_files_have_no_stored_values(png: bytes, write_dicom: Any, tmp_path: Path) -> None:
    flat = write_dicom(tmp_path / "flat.dcm", np.full((8, 8), 70, np.uint16), bits=12)

    assert stored_film(png, lambda pixels: pixels) is None
    assert stored_film(flat.read_bytes(), lambda pixels: pixels) is None
