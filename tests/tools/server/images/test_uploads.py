"""Uploads: what is decoded, what is refused before it costs memory, what ends its decoder."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from fastapi.testclient import TestClient
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGLSLossless

from cxrloc.datasets.dicom import deflated
from cxrloc.localization.diagnosis.diagnoser import Diagnoser
from cxrloc.tools.server.http.limits import Limits
from cxrloc.tools.server.http.problems import ProblemError
from cxrloc.tools.server.images.uploads import Upload, read_image
from datasets.dicom.builders import write_dicom
from tools.server.requests import post, problem_of


def test_a_dicom_image_that_is_too_large_or_claims_less_than_its_stream_holds_is_413(
    client: TestClient, draw_image: Any, tmp_path: Path
) -> None:
    stored = draw_image(size_hw=(400, 300))
    plain = write_dicom(tmp_path / "plain.dcm", stored).read_bytes()
    squeezed = write_dicom(tmp_path / "jpegls.dcm", stored, syntax=JPEGLSLossless)
    header = pydicom.dcmread(squeezed)
    header.Rows = header.Columns = 10
    header.save_as(tmp_path / "liar.dcm")

    for data in (plain, squeezed.read_bytes(), (tmp_path / "liar.dcm").read_bytes()):
        detail = problem_of(post(client, [("image.dcm", data)]), 413)
        assert detail.startswith("its header says 300 x 400")


@pytest.fixture
def deflated_dicom(draw_image: Any, tmp_path: Path) -> bytes:
    """The image of `dicom`, deflated."""
    image = tmp_path / "image.dcm"
    write_dicom(image, draw_image(), syntax=DeflatedExplicitVRLittleEndian)
    return image.read_bytes()


def test_a_deflated_dicom_image_is_predicted_as_the_same_image_in_png(
    client: TestClient, png: bytes, deflated_dicom: bytes
) -> None:
    results = post(client, [("a.png", png), ("a.dcm", deflated_dicom)]).json()["results"]
    first, second = (result["prediction"] for result in results)
    assert first["findings"] == second["findings"]
    assert post(client, [("a.dcm", deflated_dicom)], "application/dicom").status_code == 200


def test_a_deflated_image_of_too_many_pixels_is_413(
    client: TestClient, draw_image: Any, tmp_path: Path
) -> None:
    stored, syntax = draw_image(size_hw=(400, 300)), DeflatedExplicitVRLittleEndian
    data = write_dicom(tmp_path / "large.dcm", stored, syntax=syntax).read_bytes()
    detail = problem_of(post(client, [("image.dcm", data)]), 413)
    assert detail.startswith("its header says 300 x 400")


def test_a_small_deflated_file_that_would_fill_the_memory_is_422(
    client: TestClient, deflated_dicom: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deflated, "MAX_INFLATED", 2**26)
    end = 144 + int.from_bytes(
        deflated_dicom[140:144], "little"
    )  # File Meta Information Group Length
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    whole = zlib.decompress(deflated_dicom[end:], -zlib.MAX_WBITS)
    packed = [deflater.compress(part) for part in (whole, *[bytes(2**24)] * 8)]  # 128 MB of zeros
    bomb = deflated_dicom[:end] + b"".join(packed) + deflater.flush()

    assert len(bomb) < 200_000
    detail = problem_of(post(client, [("image.dcm", bomb)]), 422)
    assert detail.startswith("the deflated DICOM file inflates to more than 64 MB")


def test_a_file_that_only_names_the_deflated_syntax_is_predicted(
    client: TestClient, draw_image: Any, tmp_path: Path
) -> None:
    arguments = {"ImageComments": f"was {DeflatedExplicitVRLittleEndian}"}
    data = write_dicom(tmp_path / "named.dcm", draw_image(), arguments).read_bytes()
    assert post(client, [("image.dcm", data)]).status_code == 200


@pytest.mark.parametrize(
    ("whole", "damaged", "status"),
    [
        (b"1.2.840.10008.1.2.1\0", b"1.2.840\\10008.1.2.1\0", 422),  # two transfer syntaxes
        (b"\x08\x00\x18\x00UI", b"\x08\x00\x18\x00U\xdc", 406),  # SOPInstanceUID is of no kind
    ],
)
def test_a_damaged_header_is_no_error_of_the_server(
    client: TestClient, dicom: bytes, whole: bytes, damaged: bytes, status: int
) -> None:
    data = dicom.replace(whole, damaged)
    assert data != dicom
    problem = problem_of(post(client, [("a.dcm", data)], "application/dicom"), status)
    assert "damaged DICOM file" in problem


def claims(width: int, height: int, png: bytes) -> bytes:
    """A PNG whose header claims another size, with the right checksum."""
    head = bytearray(png[8:33])
    head[8:16] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    head[21:25] = zlib.crc32(bytes(head[4:21])).to_bytes(4, "big")
    return png[:8] + bytes(head) + png[33:]


def test_a_header_that_claims_a_billion_pixels_is_413_and_nothing_is_decoded(
    png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    monkeypatch.setattr(cv2, "imdecode", lambda *_: decoded.append(1))

    with pytest.raises(ProblemError) as refused:
        read_image(Upload("a.png", claims(40_000, 30_000, png)), Limits())

    detail = "its header says 40000 x 30000 = 1200.0 megapixels; the limit is 40"
    assert (refused.value.status_code, str(refused.value)) == (413, detail)
    assert decoded == []


def test_an_image_that_ends_its_decoder_s_process_is_422_and_the_next_is_predicted(
    client: TestClient, draw_image: Any, dicom: bytes, tmp_path: Path
) -> None:
    """GDCM calls abort() over a JPEG-LS stream with fewer columns than the header claims."""
    liar = pydicom.dcmread(
        write_dicom(tmp_path / "a.dcm", draw_image(size_hw=(60, 50)), syntax=JPEGLSLossless)
    )
    liar.Columns = 1500
    liar.save_as(tmp_path / "liar.dcm")
    files = [("liar.dcm", (tmp_path / "liar.dcm").read_bytes()), ("image.dcm", dicom)]

    bad, good = post(client, files).json()["results"]

    assert bad["problem"]["status"] == 422
    assert "the decoder crashed" in bad["problem"]["detail"]
    assert "prediction" in good


@pytest.mark.parametrize("mode", ["RGBA", "I;16", "P", "1", "LA"])
def test_every_kind_of_png_is_predicted(
    client: TestClient, diagnoser: Diagnoser, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    monkeypatch.setattr(diagnoser, "any_image", True)

    grey = np.arange(60 * 50, dtype=np.uint16).reshape(60, 50)
    image = (
        Image.fromarray(grey * 20)
        if mode == "I;16"
        else Image.fromarray((grey % 256).astype(np.uint8)).convert(mode)
    )
    out = io.BytesIO()
    image.save(out, "PNG")

    assert post(client, [("a.png", out.getvalue())]).status_code == 200


def test_the_server_reads_and_refuses_what_every_tool_does(
    client: TestClient, draw_image: Any, tmp_path: Path
) -> None:
    upright = draw_image()
    whole = cv2.imencode(".jpg", np.rot90(upright, 1))[1].tobytes()
    tiff = b"II" + struct.pack("<HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)
    exif = b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff
    bare = write_dicom(tmp_path / "bare", upright, meta=False).read_bytes()
    files = [("a.jpg", whole[:2] + exif + whole[2:]), ("1.2.840.17", bare)]
    turned, dicom = (each["prediction"] for each in post(client, files).json()["results"])
    sizes = [(p["images"][0]["height"], p["images"][0]["width"]) for p in (turned, dicom)]
    assert sizes == [upright.shape] * 2
    assert any("EXIF orientation 6" in warning for warning in turned["warnings"])

    middle = len(whole) // 2
    hand = write_dicom(tmp_path / "hand", upright, BodyPartExamined="HAND").read_bytes()
    refused = {
        "damaged JPEG": whole[:middle] + bytes(300) + whole[middle + 300 :],
        "not a chest image: BodyPartExamined is HAND": hand,
    }
    for reason, data in refused.items():
        assert reason in problem_of(post(client, [("a", data)]), 422)


def test_an_animated_png_is_refused_as_other_files_of_several_images_are(
    client: TestClient, draw_image: Any
) -> None:
    from PIL import Image

    frames = [Image.fromarray(pixels) for pixels in (draw_image(), 255 - draw_image())]
    out = io.BytesIO()
    frames[0].save(out, "PNG", save_all=True, append_images=frames[1:])

    assert b"acTL" in out.getvalue()
    detail = problem_of(post(client, [("a.png", out.getvalue())]), 422)
    assert "an animated PNG of 2 frames; expected a single image" in detail


def test_what_is_no_chest_is_422_unless_the_server_takes_any_image(
    client: TestClient, diagnoser: Diagnoser, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 90), dtype=np.uint8)
    files = [("a.png", cv2.imencode(".png", noise)[1].tobytes())]

    detail = problem_of(post(client, files), 422)
    assert detail.startswith("Not like a frontal chest radiograph (distance ")
    assert detail.endswith("With --any-image it is predicted.")
    monkeypatch.setattr(diagnoser, "any_image", True)
    [warning] = post(client, files).json()["results"][0]["prediction"]["warnings"]
    assert detail.startswith(warning)
