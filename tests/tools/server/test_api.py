"""The HTTP API: what comes back for images, pictures, bad files, limits and wrong requests."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import tempfile
import threading
import zlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGLSLossless
from starlette.datastructures import UploadFile

from builders import write_dicom
from cxrloc.datasets.dicom import deflated
from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.datasets.images.read import decode_image
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.diagnosis.diagnoser import Diagnoser
from cxrloc.localization.diagnosis.to_json import to_json
from cxrloc.tools.server.api import create_app
from cxrloc.tools.server.http.limits import Limits
from cxrloc.tools.server.http.problems import ProblemError
from cxrloc.tools.server.http.schemas import Predictions
from cxrloc.tools.server.images.uploads import Upload, read_image
from cxrloc.tools.server.service import Service

PROBLEM = "application/problem+json"
Files = Sequence[tuple[str, bytes]]


@pytest.fixture(scope="module")
def client(services: Callable[..., Service]) -> Iterator[TestClient]:
    app = create_app(services(files=3, megabytes=0.2, request_megabytes=0.5, megapixels=0.1))
    with TestClient(app, base_url="http://127.0.0.1") as opened:
        yield opened


def post(client: TestClient, files: Files, accept: str = "*/*", **query: str) -> Any:
    parts = [("files", (name, data)) for name, data in files]
    return client.post(
        "/v1/predictions", files=parts, headers={"Accept": accept}, params=query
    )  # fmt: skip


def problem_of(response: Any, status: int) -> str:
    """Detail of the problem that a response must be."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM
    body = response.json()
    assert set(body) == {"type", "title", "status", "detail"}
    assert body["status"] == status
    return str(body["detail"])


def test_a_image_comes_back_as_the_engine_s_own_record(
    client: TestClient, png: bytes, diagnoser: Diagnoser
) -> None:
    response = post(client, [("a.png", png)])

    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    body = response.json()
    assert body["research_use"] == RESEARCH_USE
    [result] = body["results"]
    expected = to_json(diagnoser([decode_image(png, Path("a.png"))])[0])
    assert result == {"file_name": "a.png", "prediction": json.loads(json.dumps(expected))}
    assert {a["localizer"] for a in expected["annotations"]} == {"grad_cam", "mask_rcnn"}


def test_a_bad_file_among_several_has_its_problem_and_the_others_their_results(
    client: TestClient, png: bytes, jpeg: bytes
) -> None:
    response = post(client, [("a.png", png), ("bad.png", png[:200]), ("c.jpg", jpeg)])

    assert response.status_code == 200
    good, bad, other = response.json()["results"]
    assert good["prediction"]["images"][0]["file_name"] == "a.png"
    assert other["prediction"]["images"][0]["file_name"] == "c.jpg"
    assert set(bad) == {"file_name", "problem"}
    assert bad["problem"]["status"] == 422
    assert "truncated PNG" in bad["problem"]["detail"]


def test_a_picture_and_a_report_are_given_to_who_accepts_them(
    client: TestClient, png: bytes
) -> None:
    boxes = post(client, [("a.png", png)], "image/png")
    heat = post(client, [("a.png", png)], "image/png", picture="heat")
    report = post(client, [("<img src=x>.png", png)], "text/html, */*;q=0.1")

    for response in (boxes, heat):
        assert response.headers["content-type"] == "image/png"
        pixels = cv2.imdecode(np.frombuffer(response.content, np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None
        assert pixels.shape[1] >= 600
    assert boxes.content != heat.content
    assert report.headers["content-type"].startswith("text/html")
    assert RESEARCH_USE in report.text
    assert "Pleural Thickening" in report.text
    assert "<img src=x>" not in report.text
    assert "&lt;img src=x&gt;.png" in report.text
    assert "http://" not in report.text
    assert "https://" not in report.text


def test_a_file_s_name_loses_its_folders(client: TestClient, png: bytes) -> None:
    record = post(client, [("..\\..\\etc/secret/a.png", png)])

    assert record.json()["results"][0]["file_name"] == "a.png"


@pytest.mark.parametrize(("kind", "modality"), [("sr", "SR"), ("pr", "PR"), ("sc", "OT")])
def test_a_dicom_image_gives_dicom_objects_that_refer_to_it(
    client: TestClient, dicom: bytes, kind: str, modality: str
) -> None:
    response = post(client, [("image.dcm", dicom)], "application/dicom", dicom=kind)

    assert response.headers["content-type"] == "application/dicom"
    image, made = pydicom.dcmread(io.BytesIO(dicom)), pydicom.dcmread(io.BytesIO(response.content))
    assert made.Modality == modality
    assert made.StudyInstanceUID == image.StudyInstanceUID
    assert image.SOPInstanceUID in str(made)


def test_a_dicom_image_is_judged_as_the_same_image_in_png_and_never_names_its_patient(
    client: TestClient, png: bytes, dicom: bytes
) -> None:
    response = post(client, [("a.png", png), ("a.dcm", dicom)])

    first, second = (result["prediction"] for result in response.json()["results"])
    assert first["findings"] == second["findings"]
    assert [a["bbox"] for a in first["annotations"]] == [a["bbox"] for a in second["annotations"]]
    assert "canary" not in response.text.lower()


def test_dicom_objects_of_a_png_are_406(client: TestClient, png: bytes) -> None:
    assert "DICOM images" in problem_of(post(client, [("a.png", png)], "application/dicom"), 406)


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


def test_a_deflated_dicom_image_is_judged_as_the_same_image_in_png(
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
    assert detail.startswith("a deflated DICOM file of more than 64 MB")


def test_a_file_that_only_names_the_deflated_syntax_is_judged(
    client: TestClient, draw_image: Any, tmp_path: Path
) -> None:
    words = {"ImageComments": f"was {DeflatedExplicitVRLittleEndian}"}
    data = write_dicom(tmp_path / "named.dcm", draw_image(), words).read_bytes()
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


def test_accept_without_an_offered_type_is_406_and_a_picture_is_of_one_file(
    client: TestClient, png: bytes
) -> None:
    assert "application/json" in problem_of(post(client, [("a.png", png)], "image/webp"), 406)
    two = [("a.png", png), ("b.png", png)]
    assert "2 were sent" in problem_of(post(client, two, "image/png"), 406)


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

    detail = "its header says 40000 x 30000 = 1200.0 megapixels; at most 40 are taken"
    assert (refused.value.status_code, str(refused.value)) == (413, detail)
    assert decoded == []


def test_a_image_that_ends_its_decoder_s_process_is_422_and_the_next_is_judged(
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


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"", 422, "the file is empty"),
        (b"\x89PNG", 422, "truncated: only 4 bytes"),
        (b"dear sir, see the image", 415, "no PNG, JPEG or DICOM"),
        (b"GIF89a" + bytes(50), 415, "no PNG, JPEG or DICOM"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", 422, "truncated JPEG"),
        (bytes(128) + b"DICM" + bytes(40), 422, "DICOM"),
        (bytes(250_000), 413, "the file has 0.2 MB; at most 0.2 MB are taken"),
    ],
)
def test_a_single_bad_file_is_a_problem_with_its_own_status(
    client: TestClient, data: bytes, status: int, words: str
) -> None:
    assert words in problem_of(post(client, [("image.png", data)]), status)


def test_too_many_files_and_too_large_a_request_are_413(client: TestClient, png: bytes) -> None:
    assert problem_of(post(client, [("a.png", png)] * 4), 413) == (
        "4 files; at most 3 in one request"
    )
    assert "0.5 MB" in problem_of(post(client, [("a.png", bytes(600_000))]), 413)


def test_a_thousand_and_more_files_are_413_too(client: TestClient) -> None:
    """They are stopped by what reads the form, before ours counts them."""
    detail = problem_of(post(client, [("a.png", b"")] * 1100), 413)
    assert "Too many files" in detail
    assert "Send fewer" in detail


def test_a_packed_request_is_415(client: TestClient, png: bytes) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x", "Content-Encoding": "gzip"}
    answer = client.post("/v1/predictions", content=gzip.compress(png), headers=headers)
    assert problem_of(answer, 415) == "content encoding gzip; send the files as they are"


def test_a_body_of_unknown_length_is_stopped_on_its_way(client: TestClient) -> None:
    sent = []

    def endless() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
        for _ in range(100):
            sent.append(1)
            yield bytes(100_000)

    content = {"Content-Type": "multipart/form-data; boundary=x"}
    response = client.post("/v1/predictions", content=endless(), headers=content)

    assert "0.5 MB" in problem_of(response, 413)


def test_a_request_that_stops_coming_in_is_408(services: Callable[..., Service]) -> None:
    detail = late_answer(services(seconds=0.1), asyncio.Event().wait)
    assert detail.endswith("has come in for 0.1 s")


def test_a_request_that_comes_in_byte_by_byte_without_end_is_408(
    services: Callable[..., Service],
) -> None:
    detail = late_answer(services(seconds=0.1), lambda: asyncio.sleep(0))
    assert detail == "not all of the request has come in within 1 s"


def late_answer(service: Service, wait: Callable[[], Awaitable[Any]]) -> str:
    """Detail of the 408 to a request of whose file a byte comes in after every `wait()`."""
    app, answer = create_app(service), []
    begun = [b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n']

    async def receive() -> Any:
        if not begun:
            await wait()
        body = begun.pop() if begun else b"-"
        return {"type": "http.request", "body": body, "more_body": True}

    async def send(message: Any) -> None:
        answer.append(message)

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"multipart/form-data; boundary=x")]
    scope = {"type": "http", "method": "POST", "path": "/v1/predictions", "headers": headers,
             "query_string": b"", "root_path": "", "scheme": "http"}  # fmt: skip
    asyncio.run(app(scope, receive, send))

    assert answer[0]["status"] == 408
    return str(json.loads(answer[1]["body"])["detail"])


def test_wrong_requests_say_what_is_expected(client: TestClient, png: bytes) -> None:
    raw = client.post("/v1/predictions", content=png, headers={"Content-Type": "image/png"})
    assert "multipart/form-data" in problem_of(raw, 415)
    other = client.post("/v1/predictions", files={"file": ("a.png", png)})
    assert "files" in problem_of(other, 422)
    assert "picture" in problem_of(post(client, [("a.png", png)], picture="none"), 422)
    problem_of(client.get("/v1/predictions"), 405)
    problem_of(client.get("/nothing"), 404)


class HeldEngine:
    """The real engine, held up until it is let go: stands for networks that take long."""

    def __init__(self, engine: Diagnoser) -> None:
        self.engine, self.began, self.go = engine, threading.Event(), threading.Event()

    def __call__(self, images: Sequence[LoadedImage]) -> Any:
        self.began.set()
        assert self.go.wait(60)
        return self.engine(images)


@pytest.fixture
def held(services: Callable[..., Service], diagnoser: Diagnoser) -> Iterator[HeldEngine]:
    engine = HeldEngine(diagnoser)
    yield engine
    engine.go.set()


def test_a_full_queue_is_503_with_retry_after_and_healthz_answers_meanwhile(
    services: Callable[..., Service],
    held: HeldEngine,
    png: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = create_app(services(held, queue=2))
    first: list[Any] = []
    read: list[str] = []  # into memory
    plain_read = UploadFile.read

    async def noted_read(file: UploadFile, size: int = -1) -> bytes:
        read.append(file.filename or "")
        return await plain_read(file, size)

    monkeypatch.setattr(UploadFile, "read", noted_read)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        busy = threading.Thread(target=lambda: first.append(post(client, [("a.png", png)])))
        busy.start()
        assert held.began.wait(60)
        response = post(client, [("b.png", png), ("c.png", png)])
        health = client.get("/healthz").json()
        assert read == ["a.png"]
        held.go.set()
        busy.join()
        after = post(client, [("b.png", png), ("c.png", png)])

    assert "1 images wait and 2 more" in problem_of(response, 503)
    assert int(response.headers["retry-after"]) > 0
    assert health == {"status": "ok", "images_waiting": 1}
    assert first[0].status_code == 200
    assert after.status_code == 200


def test_what_is_not_done_in_time_is_504_and_the_next_request_is_served(
    services: Callable[..., Service], held: HeldEngine, png: bytes
) -> None:
    service = services(held, seconds=0.2)
    with TestClient(create_app(service), base_url="http://127.0.0.1") as client:
        detail = problem_of(post(client, [("a.png", png), ("b.png", png)]), 504)
        held.go.set()
        service.worker.close()  # the running image ends, the waiting one was dropped

    assert "0.2 s" in detail
    assert service.worker.taken == 0


def test_a_server_that_is_stopped_answers_about_the_running_image_and_refuses_the_rest(
    services: Callable[..., Service], held: HeldEngine, png: bytes
) -> None:
    service = services(held)
    answers: dict[str, Any] = {}
    with TestClient(create_app(service), base_url="http://127.0.0.1") as client:

        def ask(name: str) -> None:
            answers[name] = post(client, [(name, png)])

        running, waiting = (threading.Thread(target=ask, args=(name,)) for name in ("a", "b"))
        running.start()
        assert held.began.wait(60)
        waiting.start()
        while service.worker.taken < 2:
            waiting.join(0.01)
        service.worker.stop()
        waiting.join()
        ask("late")
        held.go.set()
        running.join()

    assert answers["a"].status_code == 200
    for name in ("b", "late"):
        assert "the server is being stopped" in problem_of(answers[name], 503)


def test_an_unforeseen_error_is_500_without_its_text_and_the_server_goes_on(
    services: Callable[..., Service], diagnoser: Diagnoser, png: bytes
) -> None:
    def broken(images: Sequence[LoadedImage]) -> Any:
        if images[0].image_id == "bad.png":
            raise RuntimeError("secret")
        return diagnoser(images)

    app = create_app(services(broken))
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        response = post(client, [("bad.png", png)])
        after = post(client, [("good.png", png)])

    assert "secret" not in problem_of(response, 500)
    assert after.status_code == 200


def test_nothing_is_left_on_disk_after_large_images_and_errors(
    services: Callable[..., Service], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    noise = np.random.default_rng(0).integers(0, 255, (1300, 1300), dtype=np.uint8)
    done, data = cv2.imencode(".png", noise)
    assert done
    assert data.size > 1_500_000  # more than the form's parser keeps in memory
    with TestClient(create_app(services()), base_url="http://127.0.0.1") as client:
        good = post(client, [("a.png", data.tobytes())])
        bad = post(client, [("a.png", data.tobytes()[:-100])])

    assert (good.status_code, bad.status_code) == (200, 422)
    assert list(tmp_path.iterdir()) == []


def test_models_say_which_bundles_and_thresholds_are_loaded(
    client: TestClient, bundles: dict[str, Path]
) -> None:
    from cxrloc.datasets.files.manifest import file_sha256

    body = client.get("/v1/models").json()

    assert body["localizers"] == ["grad_cam", "mask_rcnn"]
    assert body["runtime"] == "torch fp32 on cpu, mask_rcnn torch fp32 on cpu"
    assert [model["kind"] for model in body["models"]] == ["classifier", "maskrcnn"]
    assert [m["sha256"] for m in body["models"]] == [file_sha256(p) for p in bundles.values()]
    assert body["models"][0]["thresholds"]["Pleural_Thickening"] == 1.0


def test_metrics_count_requests_by_route_and_images_by_outcome(
    services: Callable[..., Service], png: bytes
) -> None:
    with TestClient(create_app(services()), base_url="http://127.0.0.1") as client:
        post(client, [("a.png", png), ("b.png", b"text")])
        client.get("/no/such/place")
        text = client.get("/metrics").text

    assert 'cxrloc_requests_total{route="/v1/predictions",status="200"} 1.0' in text
    assert 'cxrloc_requests_total{route="other",status="404"} 1.0' in text
    assert 'cxrloc_images_total{status="200"} 1.0' in text
    assert 'cxrloc_images_total{status="415"} 1.0' in text
    assert 'cxrloc_image_seconds_count{stage="networks"} 1.0' in text
    assert "cxrloc_images_waiting 0.0" in text
    families = {family.name: family.type for family in text_string_to_metric_families(text)}
    assert families["cxrloc_image_seconds"] == "histogram"


def test_the_example_of_the_description_has_the_keys_of_a_real_answer(
    client: TestClient, png: bytes
) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    described = paths["/v1/predictions"]["post"]["responses"]["200"]
    example = Predictions.model_validate(described["content"]["application/json"]["example"])
    assert [result.problem is None for result in example.results] == [True, False]

    real = post(client, [("a.png", png)]).json()["results"][0]["prediction"]
    shown = described["content"]["application/json"]["example"]["results"][0]["prediction"]
    assert set(shown) == set(real)
    for part in ("images", "categories", "findings", "annotations"):
        assert set(shown[part][0]) == set(real[part][0])


@pytest.mark.parametrize("mode", ["RGBA", "I;16", "P", "1", "LA"])
def test_every_kind_of_png_is_judged(client: TestClient, mode: str) -> None:
    from PIL import Image

    grey = np.arange(60 * 50, dtype=np.uint16).reshape(60, 50)
    image = Image.fromarray(grey * 20) if mode == "I;16" else Image.fromarray(
        (grey % 256).astype(np.uint8)
    ).convert(mode)  # fmt: skip
    out = io.BytesIO()
    image.save(out, "PNG")

    assert post(client, [("a.png", out.getvalue())]).status_code == 200


def test_an_animated_png_is_judged_by_its_first_frame(client: TestClient, png: bytes) -> None:
    from PIL import Image

    frames = [Image.fromarray(np.full((40, 40), value, np.uint8)) for value in (10, 200)]
    out = io.BytesIO()
    frames[0].save(out, "PNG", save_all=True, append_images=frames[1:])

    assert b"acTL" in out.getvalue()
    assert post(client, [("a.png", out.getvalue())]).status_code == 200
