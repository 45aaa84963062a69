"""The HTTP API: what comes back for images, pictures, bad files, limits and wrong requests."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.datasets.images.read import decode_image
from cxrloc.localization.diagnosis.diagnoser import Diagnoser
from cxrloc.localization.diagnosis.to_json import to_json
from cxrloc.tools.server.api import create_app
from cxrloc.tools.server.http.schemas import Predictions
from cxrloc.tools.server.service import Service
from tools.server.requests import post, problem_of


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


def test_a_dicom_image_is_predicted_as_the_same_image_in_png_and_never_names_its_patient(
    client: TestClient, png: bytes, dicom: bytes
) -> None:
    response = post(client, [("a.png", png), ("a.dcm", dicom)])

    first, second = (result["prediction"] for result in response.json()["results"])
    assert first["findings"] == second["findings"]
    assert [a["bbox"] for a in first["annotations"]] == [a["bbox"] for a in second["annotations"]]
    assert "canary" not in response.text.lower()


def test_dicom_objects_of_a_png_are_406(client: TestClient, png: bytes) -> None:
    assert "DICOM images" in problem_of(post(client, [("a.png", png)], "application/dicom"), 406)


def test_accept_without_an_offered_type_is_406_and_a_picture_is_of_one_file(
    client: TestClient, png: bytes
) -> None:
    assert "application/json" in problem_of(post(client, [("a.png", png)], "image/webp"), 406)
    two = [("a.png", png), ("b.png", png)]
    assert "2 were sent" in problem_of(post(client, two, "image/png"), 406)


@pytest.mark.parametrize(
    ("data", "status", "expected"),
    [
        (b"", 422, "the file is empty"),
        (b"\x89PNG", 422, "truncated: only 4 bytes"),
        (b"dear sir, see the image", 415, "not a PNG, JPEG or DICOM"),
        (b"GIF89a" + bytes(50), 415, "not a PNG, JPEG or DICOM"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", 422, "truncated JPEG"),
        (bytes(128) + b"DICM" + bytes(40), 422, "DICOM"),
        (bytes(250_000), 413, "the file has 0.2 MB; the limit is 0.2 MB"),
    ],
)
def test_a_single_bad_file_is_a_problem_with_its_own_status(
    client: TestClient, data: bytes, status: int, expected: str
) -> None:
    assert expected in problem_of(post(client, [("image.png", data)]), status)


def test_wrong_requests_say_what_is_expected(client: TestClient, png: bytes) -> None:
    raw = client.post("/v1/predictions", content=png, headers={"Content-Type": "image/png"})
    assert "multipart/form-data" in problem_of(raw, 415)
    other = client.post("/v1/predictions", files={"file": ("a.png", png)})
    assert "files" in problem_of(other, 422)
    assert "picture" in problem_of(post(client, [("a.png", png)], picture="none"), 422)
    problem_of(client.get("/v1/predictions"), 405)
    problem_of(client.get("/nothing"), 404)


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
