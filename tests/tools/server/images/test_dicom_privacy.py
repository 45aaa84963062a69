"""No answer of the HTTP API, page of a report, or log names the patient of a DICOM image."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from cxrloc.tools.server.api import create_app
from cxrloc.tools.server.service import Service
from datasets.dicom.builders import names_everywhere, write_dicom

NAMES = (b"canary", b"secret", b"19500102", b"077y")


@pytest.fixture(scope="module")
def client(services: Callable[..., Service]) -> Iterator[TestClient]:
    with TestClient(create_app(services()), base_url="http://127.0.0.1") as opened:
        yield opened


@pytest.fixture(scope="module")
def image(draw_image: Any, tmp_path_factory: Any) -> Callable[..., bytes]:
    """`image(BodyPartExamined="KNEE")`: an image that names its patient wherever it can."""
    path = tmp_path_factory.mktemp("named") / "image.dcm"

    def make(**attributes: str) -> bytes:
        everything = {**names_everywhere(), "PatientAge": "077Y", **attributes}
        return Path(write_dicom(path, draw_image(), everything)).read_bytes()

    return make


def answers(client: TestClient, data: bytes) -> list[Any]:
    """As JSON, a page and a picture."""
    return [
        client.post("/v1/predictions", files=[("files", ("a.dcm", data))], headers={"Accept": kind})
        for kind in ("application/json", "text/html", "image/png")
    ]


@pytest.mark.parametrize(
    ("attributes", "cut", "status"),
    [
        ({"ViewPosition": "LL"}, None, 200),
        ({"BodyPartExamined": "KNEE"}, None, 422),
        ({}, -3000, 422),
        ({}, 9000, 422),
    ],
)
def test_no_answer_and_no_log_names_the_patient(
    client: TestClient,
    image: Callable[..., bytes],
    caplog: pytest.LogCaptureFixture,
    attributes: dict[str, str],
    cut: int | None,
    status: int,
) -> None:
    data = image(**attributes)[:cut]
    caplog.clear()
    with caplog.at_level(logging.DEBUG):
        responses = answers(client, data)
    assert [answer.status_code for answer in responses] == [status] * 3
    texts = b"".join(answer.content for answer in responses) + caplog.text.encode()
    assert not [name for name in NAMES if name in texts.lower()]
    assert data.lower().count(b"canary") > 100
