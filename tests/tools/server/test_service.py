"""The service behind the API: its queue, its time limit, its end, and what it leaves on disk."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient
from starlette.datastructures import UploadFile

from builders import chest_pixels
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.diagnosis.diagnoser import Diagnoser
from cxrloc.tools.server.api import create_app
from cxrloc.tools.server.http.problems import ProblemError
from cxrloc.tools.server.service import Service
from cxrloc.tools.server.worker import Worker
from tools.server.requests import post, problem_of


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

    assert "1 images are waiting, and 2 more" in problem_of(response, 503)
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
        assert "the server is stopping" in problem_of(answers[name], 503)


def test_an_image_that_the_stopping_server_does_not_wait_for_is_refused() -> None:
    begun, go = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        go.wait(60)

    async def asked() -> None:
        worker = Worker(places=1)
        request = asyncio.create_task(worker.run([slow], seconds=60))
        await asyncio.to_thread(begun.wait, 60)
        worker.stop()
        request.cancel()  # as uvicorn does, when its patience is over
        with pytest.raises(ProblemError, match="the server is stopping") as refused:
            await request
        go.set()
        assert refused.value.status_code == 503

    asyncio.run(asked())


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
    noise = np.random.default_rng(0).integers(0, 128, (1500, 1500), dtype=np.uint8)
    done, data = cv2.imencode(".png", chest_pixels(0, (1500, 1500)) // 2 + noise)
    assert done
    assert data.size > 1_500_000  # more than the form's parser keeps in memory
    with TestClient(create_app(services()), base_url="http://127.0.0.1") as client:
        good = post(client, [("a.png", data.tobytes())])
        bad = post(client, [("a.png", data.tobytes()[:-100])])

    assert (good.status_code, bad.status_code) == (200, 422)
    assert list(tmp_path.iterdir()) == []
