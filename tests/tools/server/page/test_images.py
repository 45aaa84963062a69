"""What the page holds of images: as much as it says, whatever an open page lists."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient

from cxrloc.localization.cam.heat_maps import FrameMaps
from cxrloc.tools.server.api import create_app
from cxrloc.tools.server.images.prediction import predict
from cxrloc.tools.server.images.uploads import Upload
from cxrloc.tools.server.page.images import PageImages, add_image_routes, keep
from cxrloc.tools.server.page.page import ImagePage
from cxrloc.tools.server.service import Done, Service

nicegui = pytest.importorskip("nicegui", reason="nicegui is not installed: pip install -e .[serve]")


def test_an_open_page_does_not_hold_a_image_that_had_to_go(
    services: Callable[..., Service], png: bytes
) -> None:
    service = services()

    def predicted() -> Any:
        upload = Upload("a.png", png)
        return Done(upload, keep(predict(upload, service.engine, service.limits)))

    images = PageImages(held_bytes=1)
    with nicegui.Client(nicegui.ui.page("/")):
        page = ImagePage(service, images)
        first, second = page._entry("a.png"), page._entry("b.png")
        done = predicted()
        gone = weakref.ref(done.view)
        page._finish(first, done)
        assert len(images) == 1
        del done
        page._finish(second, predicted())
        gc.collect()
        assert gone() is None
        assert len(images) == 1
        page.show(first)
        assert first.state._text == "this image is no longer held; drop it on the page again"
        page.forget()
    assert len(images) == 0


def test_the_heat_map_of_a_large_image_is_not_made_at_its_size(
    services: Callable[..., Service], draw_image: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = services()
    data = cv2.imencode(".png", draw_image(size_hw=(2600, 2200)))[1].tobytes()
    image = keep(predict(Upload("a.png", data), service.engine, service.limits))
    whole = image.prediction.diagnosis.heat_maps["Mass"]
    expected = cv2.resize(whole, (433, 512), interpolation=cv2.INTER_AREA)

    def refuse(*_: object) -> None:
        raise AssertionError("made at the image's size")

    monkeypatch.setattr(FrameMaps, "__getitem__", refuse)
    png = cv2.imdecode(np.frombuffer(image.heat_png("Mass"), np.uint8), cv2.IMREAD_UNCHANGED)
    assert png is not None
    assert np.ptp(png[..., 3]) > 100
    np.testing.assert_allclose(np.square(png[..., 3] / 255), expected, atol=0.03)


def _dropped(*names: str, data: bytes) -> list[Any]:
    """Files as NiceGUI hands them on."""
    files = [nicegui.ui.upload.SmallFileUpload(name, "image/png", data) for name in names]
    return [SimpleNamespace(file=file) for file in files]


def _states(page: ImagePage) -> list[tuple[str, str, bool]]:
    return [(entry.name, str(entry.state._text), entry.bad) for entry in page.entries]


def test_a_page_takes_no_more_images_than_the_queue_and_predicts_the_others(
    services: Callable[..., Service], png: bytes
) -> None:
    async def drop(*names: str) -> None:
        await asyncio.gather(*map(page.received, _dropped(*names, data=png)))

    with nicegui.Client(nicegui.ui.page("/")):
        page = ImagePage(services(queue=2), PageImages())
    asyncio.run(drop("a", "b", "c"))
    asyncio.run(drop("d"))

    assert _states(page) == [
        ("a", "Mass, Effusion", False),
        ("b", "Mass, Effusion", False),
        ("c", "2 images are already waiting; drop it again later", True),
        ("d", "Mass, Effusion", False),
    ]


def test_a_image_that_fails_after_the_list_was_cleared_is_not_counted(
    services: Callable[..., Service], png: bytes
) -> None:
    def fail(images: Any) -> Any:
        page.cleared()
        raise RuntimeError("unforeseen")

    with nicegui.Client(nicegui.ui.page("/")):
        page = ImagePage(services(fail), PageImages())
    with pytest.raises(RuntimeError, match="unforeseen"):
        asyncio.run(page.received(_dropped("a", data=png)[0]))

    assert (page.done, page.entries, page.news._text) == (0, [], "The list is empty.")


def test_the_log_of_an_error_names_the_route_and_not_the_key_of_the_image(
    services: Callable[..., Service], caplog: pytest.LogCaptureFixture
) -> None:
    class BrokenImages(PageImages):
        def get(self, key: str) -> Any:
            raise RuntimeError("unforeseen")

    service = services()
    app = create_app(service)
    add_image_routes(app, service, BrokenImages())
    client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)

    assert client.get("/images/secret-key/image.png").status_code == 500
    [logged] = [record for record in caplog.records if record.name == "cxrloc.server"]
    assert logged.getMessage() == "GET /images/{key}/image.png failed"
    assert "secret-key" not in caplog.handler.format(logged)
