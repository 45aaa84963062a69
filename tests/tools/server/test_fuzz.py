"""The API against requests made from its own description, and against broken images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxrloc.tools.server.api import create_app
from cxrloc.tools.server.service import Service

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed (dev)")
pytestmark = pytest.mark.slow
FORESEEN = {200, 413, 415, 422}
QUIET = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def app(services: Callable[..., Service]) -> Any:
    return create_app(services(files=3))


@pytest.fixture(scope="module")
def description(app: Any) -> Any:
    with TestClient(app, base_url="http://127.0.0.1"):
        yield schemathesis.openapi.from_asgi("/openapi.json", app, headers={"Host": "127.0.0.1"})


OPERATIONS = ("/v1/predictions", "/v1/models", "/healthz", "/metrics")


def test_every_operation_of_the_description_is_fuzzed(description: Any) -> None:
    described = [each.ok() for each in description.get_all_operations()]
    assert {operation.path for operation in described} == set(OPERATIONS)


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        *((path, schemathesis.GenerationMode.POSITIVE) for path in OPERATIONS),
        ("/v1/predictions", schemathesis.GenerationMode.NEGATIVE),  # the others take no input
    ],
)
def test_requests_made_from_the_description_are_answered_as_it_says(
    description: Any, path: str, mode: Any
) -> None:
    """No 500; every status, media type and body is one that the description foresees."""
    from schemathesis.specs.openapi.checks import (
        negative_data_rejection,
        positive_data_acceptance,
    )

    operation = description[path]["POST" if path == "/v1/predictions" else "GET"]
    # a description cannot say that bytes are to be a PNG, so most of what it allows is refused;
    # a form with one file is both a list of one and one, so some of what it forbids is taken
    forms = [positive_data_acceptance, negative_data_rejection]
    beyond = forms if path == "/v1/predictions" else []

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(parent=QUIET, max_examples=15)
    def ask(case: Any) -> None:
        case.call_and_validate(headers={"Host": "127.0.0.1"}, excluded_checks=beyond)

    ask()


@pytest.fixture(scope="module")
def client(app: Any) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1")


@pytest.fixture(scope="module")
def seeds(png: bytes, jpeg: bytes, dicom: bytes) -> tuple[bytes, ...]:
    return png, jpeg, dicom


@given(data=st.data())
@settings(parent=QUIET, max_examples=60)
def test_broken_images_are_refused_or_predicted_but_never_an_error_of_the_server(
    client: TestClient, seeds: tuple[bytes, ...], data: Any
) -> None:
    broken = bytearray(data.draw(st.sampled_from(seeds)))
    for _ in range(data.draw(st.integers(0, 6))):
        place = data.draw(st.integers(0, len(broken) - 1))
        broken[place] = data.draw(st.integers(0, 255))
    end = data.draw(st.sampled_from((len(broken), len(broken) // 2, 24, 3)))

    response = client.post("/v1/predictions", files={"files": ("a.png", bytes(broken[:end]))})

    assert response.status_code in FORESEEN, response.text
