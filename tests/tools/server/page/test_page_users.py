"""Who sees what on the page: two users who know the token of a server, and one who does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

pytestmark = pytest.mark.slow
TOKEN = "a-token-of-some-length-0123456789"


@pytest.fixture(scope="module")
def shared(browser: Any, served: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server that wants a token."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "token").write_text(TOKEN)
    with served(folder, "--token-file", str(folder / "token")) as address:
        yield address


@pytest.fixture(scope="module")
def open_page(browser: Any, shared: str, patience_ms: int) -> Callable[[], Any]:
    """`open_page()` is the page of one more user who knows the token."""

    def opened() -> Any:
        credentials = {"username": "anybody", "password": TOKEN}
        page = browser.new_context(http_credentials=credentials).new_page()
        page.set_default_timeout(patience_ms)
        page.goto(shared)
        page.locator(".empty").wait_for()
        return page

    return opened


@pytest.fixture(scope="module")
def page(open_page: Callable[[], Any], images: dict[str, Path]) -> Any:
    """The page of a user who has dropped an image on it."""
    opened = open_page()
    opened.locator("input[type=file]").set_input_files(images["c.dcm"])
    opened.locator(".news", has_text="1 of 1 images done.").wait_for()
    return opened


def test_who_gives_the_token_as_a_password_has_the_page_and_its_downloads(page: Any) -> None:
    with page.expect_download() as caught:
        page.get_by_role("link", name="Structured report").click()
    assert pydicom.dcmread(caught.value.path()).Modality == "SR"


def test_who_does_not_know_the_token_sees_nothing(page: Any, browser: Any, shared: str) -> None:
    image = page.locator(".world .image").get_attribute("src")
    socket_io = "/page/_nicegui_ws/socket.io/?EIO=4&transport=polling"
    with browser.new_context() as stranger:
        for path in ("/", "/page/", image, socket_io, "/v1/models"):
            assert stranger.request.get(shared + path).status == 401


def test_another_user_sees_no_image_but_their_own(
    page: Any, open_page: Callable[[], Any], images: dict[str, Path]
) -> None:
    other = open_page()
    assert other.locator(".entry").count() == 0
    other.locator("input[type=file]").set_input_files(images["b.jpg"])
    other.locator(".news", has_text="1 of 1 images done.").wait_for()

    assert other.locator(".entry .name").all_inner_texts() == ["b.jpg"]
    assert page.locator(".entry .name").all_inner_texts() == ["c.dcm"]
