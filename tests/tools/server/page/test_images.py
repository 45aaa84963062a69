"""What the page holds of films: as much as it says, whatever an open page lists."""

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
from cxrloc.tools.server.page.images import PageFilms, add_film_routes, keep
from cxrloc.tools.server.page.page import FilmPage
from cxrloc.tools.server.service import Done, Service

nicegui = pytest.importorskip("nicegui", reason="nicegui is not installed: pip install -e .[serve]")


def test_an_open_page_does_not_hold_a_film_that_had_to_go(
    services: Callable[..., Service], png: bytes
) -> None:
    service = services()

    def judged() -> Any:
        upload = Upload("a.png", png)
        return Done(upload, keep(predict(upload, service.engine, service.limits)))

    films = PageFilms(held_bytes=1)
    with nicegui.Client(nicegui.ui.page("/")):
        page = FilmPage(service, films)
        first, second = page._entry("a.png"), page._entry("b.png")
        done = judged()
        gone = weakref.ref(done.view)
        page._finish(first, done)
        assert len(films) == 1
        del done
        page._finish(second, judged())
        gc.collect()
        assert gone() is None
        assert len(films) == 1
        page.show(first)
        assert first.state._text == "this film is held no longer; drop it on the page again"
        page.forget()
    assert len(films) == 0


def test_the_heat_map_of_a_large_film_is_not_made_at_its_size(
    services: Callable[..., Service], draw_film: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = services()
    data = cv2.imencode(".png", draw_film(size_hw=(2600, 2200)))[1].tobytes()
    film = keep(predict(Upload("a.png", data), service.engine, service.limits))
    whole = film.prediction.diagnosis.heat_maps["Mass"]
    expected = cv2.resize(whole, (433, 512), interpolation=cv2.INTER_AREA)

    def refuse(*_: object) -> None:
        raise AssertionError("made at the film's size")

    monkeypatch.setattr(FrameMaps, "__getitem__", refuse)
    png = cv2.imdecode(np.frombuffer(film.heat_png("Mass"), np.uint8), cv2.IMREAD_UNCHANGED)
    assert png is not None
    assert np.ptp(png[..., 3]) > 100
    np.testing.assert_allclose(np.square(png[..., 3] / 255), expected, atol=0.03)


def _dropped(*names: str, data: bytes) -> list[Any]:
    """Files as NiceGUI hands them on."""
    files = [nicegui.ui.upload.SmallFileUpload(name, "image/png", data) for name in names]
    return [SimpleNamespace(file=file) for file in files]


def _states(page: FilmPage) -> list[tuple[str, str, bool]]:
    return [(entry.name, str(entry.state._text), entry.bad) for entry in page.entries]


def test_a_page_takes_no_more_films_than_the_queue_and_judges_the_others(
    services: Callable[..., Service], png: bytes
) -> None:
    async def drop(*names: str) -> None:
        await asyncio.gather(*map(page.received, _dropped(*names, data=png)))

    with nicegui.Client(nicegui.ui.page("/")):
        page = FilmPage(services(queue=2), PageFilms())
    asyncio.run(drop("a", "b", "c"))
    asyncio.run(drop("d"))

    assert _states(page) == [
        ("a", "Mass, Effusion", False),
        ("b", "Mass, Effusion", False),
        ("c", "2 films of this page wait already; drop it again later", True),
        ("d", "Mass, Effusion", False),
    ]


def test_a_film_that_fails_after_the_list_was_cleared_is_not_counted(
    services: Callable[..., Service], png: bytes
) -> None:
    def fail(films: Any) -> Any:
        page.cleared()
        raise RuntimeError("unforeseen")

    with nicegui.Client(nicegui.ui.page("/")):
        page = FilmPage(services(fail), PageFilms())
    with pytest.raises(RuntimeError, match="unforeseen"):
        asyncio.run(page.received(_dropped("a", data=png)[0]))

    assert (page.done, page.entries, page.news._text) == (0, [], "The list is empty.")


def test_the_log_of_an_error_names_the_route_and_not_the_key_of_the_film(
    services: Callable[..., Service], caplog: pytest.LogCaptureFixture
) -> None:
    class BrokenFilms(PageFilms):
        def get(self, key: str) -> Any:
            raise RuntimeError("unforeseen")

    service = services()
    app = create_app(service)
    add_film_routes(app, service, BrokenFilms())
    client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)

    assert client.get("/films/secret-key/film.png").status_code == 500
    [logged] = [record for record in caplog.records if record.name == "cxrloc.server"]
    assert logged.getMessage() == "GET /films/{key}/film.png failed"
    assert "secret-key" not in caplog.handler.format(logged)
