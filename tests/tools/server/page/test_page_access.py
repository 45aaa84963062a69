"""The page by keyboard, by screen reader, on a phone."""

from __future__ import annotations

from typing import Any

import pytest

from cxrloc.datasets.files.manifest import RESEARCH_USE
from tools.server.page.actions import FOCUSED, open_image

pytestmark = pytest.mark.slow


def test_everything_is_reached_by_keyboard_and_has_a_name(page: Any) -> None:
    open_image(page, "a <b>.png")
    page.locator(".pick").focus()
    reached = [page.evaluate(FOCUSED)]
    while "Report" not in reached[-1] and len(reached) < 60:
        page.keyboard.press("Tab")
        reached.append(page.evaluate(FOCUSED))
    expected = ("pick", "entry", "stage", "Zoom in", "strongest only", "heat-of", "level", "Report")
    places = [next(i for i, text in enumerate(reached) if name in text) for name in expected]
    assert places == sorted(places)
    open_image(page, "b.jpg")
    page.locator(".entry", has_text="c.dcm").focus()
    page.keyboard.press("Enter")
    page.locator(".look h2", has_text="c.dcm").wait_for()
    assert page.locator(".entry[aria-current]").all_inner_texts()[0].startswith("c.dcm")


def test_a_screen_reader_is_told_what_is_seen(page: Any) -> None:
    open_image(page, "c.dcm")
    alt = page.locator(".world .image").get_attribute("alt")
    assert alt.startswith("Chest image c.dcm, 100 by 120 pixels. grad_cam boxes Mass from ")
    assert page.locator("[role=status]").get_attribute("aria-live") == "polite"
    assert page.locator("html").get_attribute("lang") == "en-US"
    assert page.locator("main").count() == 1
    assert page.locator("button input, a button, button a").count() == 0
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, input:not([type=file]), select')].filter(e => "
        "!(e.ariaLabel || e.innerText || e.closest('label')?.innerText)).map(e => e.outerHTML)"
    )
    assert nameless == []


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_the_choice_of_files_opens_by_key_as_by_mouse(page: Any, key: str) -> None:
    pick = page.get_by_role("button", name="Choose or drop images")
    with page.expect_file_chooser() as opened:
        pick.press(key)
    assert opened.value.is_multiple()
    with page.expect_file_chooser():
        pick.click()


def test_on_a_phone_the_chosen_image_comes_into_sight_and_two_fingers_zoom_it(page: Any) -> None:
    page.set_viewport_size({"width": 375, "height": 740})
    for name in ("b.jpg", "a <b>.png"):
        page.evaluate("scrollTo(0, 0)")
        open_image(page, name)
    place = page.locator(".stage").bounding_box()
    assert place["y"] >= 0
    assert place["y"] + place["height"] <= 740

    image = page.locator(".world .image")
    fitted = image.bounding_box()["width"]
    x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    fingers = page.context.new_cdp_session(page)
    for kind, apart in (("touchStart", 30), ("touchMove", 45), ("touchMove", 60)):
        points = [{"x": x + side * apart, "y": y, "id": i} for i, side in enumerate((-1, 1))]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert image.bounding_box()["width"] == pytest.approx(2 * fitted, rel=0.05)
    page.get_by_role("button", name="Fit").click()
    page.set_viewport_size({"width": 1280, "height": 900})


@pytest.mark.parametrize("width", [375, 800, 1280])
def test_nothing_is_cut_off_sideways_and_the_note_is_always_in_sight(page: Any, width: int) -> None:
    open_image(page, "a <b>.png")
    page.set_viewport_size({"width": width, "height": 740})
    page.evaluate("scrollTo(0, document.body.scrollHeight)")

    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    note = page.locator("[role=note]")
    assert note.inner_text() == f"{RESEARCH_USE}."
    place = note.bounding_box()
    assert place["y"] >= 0
    assert place["y"] + place["height"] <= 740
    page.set_viewport_size({"width": 1280, "height": 900})
