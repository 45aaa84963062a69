"""The page in a real browser, served by the real tool: images in, boxes, toggles, downloads out."""

from __future__ import annotations

import io
import json
import urllib.error
import urllib.request
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest

from cxrloc.datasets.dicom.reader import decode_dicom
from cxrloc.datasets.files.manifest import RESEARCH_USE

pytestmark = pytest.mark.slow
# class and name of what has the focus
FOCUSED = """() => { const e = document.activeElement;
    return e.className + ' ' + (e.ariaLabel || e.innerText || e.closest('label')?.innerText); }"""


def _open(page: Any, name: str) -> None:
    page.locator(".entry", has_text=name).click()
    page.locator(".look h2", has_text=name).wait_for()


def _boxes(page: Any) -> set[tuple[str, str]]:
    """Localizer and disease of the boxes on the image."""
    found = page.locator(".stage .box")
    pairs = found.evaluate_all("g => g.map(b => [b.dataset.localizer, b.dataset.disease])")
    return {(name, disease) for name, disease in pairs}


def test_three_images_are_judged_and_the_bad_ones_say_why(page: Any) -> None:
    states = {
        name: page.locator(".entry", has_text=name).locator(".state").inner_text()
        for name in ("a <b>.png", "b.jpg", "c.dcm", "broken.png", "large.png")
    }

    assert {states[name] for name in ("a <b>.png", "b.jpg")} == {"Mass, Effusion"}
    assert states["c.dcm"].startswith("Mass, Effusion")
    assert "truncated PNG: 300 bytes" in states["broken.png"]
    assert states["large.png"] == "the file is larger than 1 MB"
    assert page.locator(".entry.bad").count() == 2
    assert page.locator("progress").evaluate("bar => bar.value / bar.max") == 1


def test_the_page_is_quiet_and_asks_its_own_server_alone(page: Any, address: str) -> None:
    own = (address, address.replace("http:", "ws:"), "data:", "blob:")

    assert page.heard == []
    assert [url for url in page.asked if not url.startswith(own)] == []
    assert any(url.startswith("ws:") for url in page.asked)  # the listener does hear


def test_boxes_of_both_localizers_stand_where_the_record_says(page: Any) -> None:
    _open(page, "c.dcm")
    assert _boxes(page) == {
        (name, disease) for name in ("grad_cam", "mask_rcnn") for disease in ("Mass", "Effusion")
    }
    with page.expect_download() as caught:
        page.get_by_role("link", name="All figures (JSON)").click()
    record = json.loads(caught.value.path().read_text())
    first = next(a for a in record["annotations"] if a["localizer"] == "mask_rcnn")
    stage, line = (
        page.locator(selector).first.bounding_box()
        for selector in (".world .image", '.box[data-localizer="mask_rcnn"] .line')
    )
    scale = stage["width"] / record["images"][0]["width"]
    expected = [stage["x"] + scale * first["bbox"][0], stage["y"] + scale * first["bbox"][1]]
    np.testing.assert_allclose([line["x"], line["y"]], expected, atol=3)
    np.testing.assert_allclose([line["width"], line["height"]],
                               [scale * v for v in first["bbox"][2:]], atol=5)  # fmt: skip


def test_localizers_and_diseases_are_toggled_without_asking_the_server(page: Any) -> None:
    _open(page, "a <b>.png")
    asked = len(page.asked)
    page.locator(".localizer", has_text="grad_cam").locator("input").uncheck()
    assert _boxes(page) == {("mask_rcnn", "Mass"), ("mask_rcnn", "Effusion")}
    page.locator(".toggle.disease", has_text="Mass").locator("input").uncheck()
    assert _boxes(page) == {("mask_rcnn", "Effusion")}
    strongest = page.locator(".box").count()
    page.get_by_label("strongest only").uncheck()
    assert page.locator(".box").count() > strongest
    page.get_by_label("strongest only").check()
    page.locator(".localizer", has_text="grad_cam").locator("input").check()
    page.locator(".toggle.disease", has_text="Mass").locator("input").check()

    assert len(_boxes(page)) == 4
    assert len(page.asked) == asked


def test_a_heat_map_lies_over_the_image_as_opaque_as_asked(page: Any) -> None:
    _open(page, "a <b>.png")
    page.locator(".heat-of").select_option("Effusion")
    heat = page.locator(".world .heat")
    heat.wait_for()
    assert heat.evaluate("i => getComputedStyle(i).opacity") == "0.6"
    page.locator(".opacity").fill("25")
    assert heat.evaluate("i => getComputedStyle(i).opacity") == "0.25"
    page.wait_for_function("document.querySelector('.world .heat').naturalWidth > 0")
    page.locator(".heat-of").select_option("")
    assert heat.count() == 0


def test_level_window_and_inversion_change_the_pixels_that_are_seen(page: Any) -> None:
    _open(page, "a <b>.png")
    page.get_by_label("strongest only").wait_for()
    for box in ("grad_cam", "mask_rcnn"):
        page.locator(".localizer", has_text=box).locator("input").uncheck()

    def middle() -> int:
        shot = np.frombuffer(page.locator(".stage").screenshot(), np.uint8)
        seen = cv2.imdecode(shot, cv2.IMREAD_GRAYSCALE)
        assert seen is not None
        return int(seen[seen.shape[0] // 2, seen.shape[1] // 2])

    plain = middle()
    page.get_by_label("inverted").check()
    assert middle() == pytest.approx(255 - plain, abs=4)
    page.get_by_label("inverted").uncheck()
    page.locator(".window").fill("128")
    page.locator(".level").fill(str(plain))  # the middle of the window is middle grey
    assert middle() == pytest.approx(128, abs=6)
    page.get_by_role("button", name="Reset").click()
    assert middle() == pytest.approx(plain, abs=2)
    for box in ("grad_cam", "mask_rcnn"):
        page.locator(".localizer", has_text=box).locator("input").check()


def test_a_dicom_image_is_windowed_in_its_stored_values(page: Any, dicom: bytes) -> None:
    _open(page, "c.dcm")
    image = page.locator(".world .image")
    as_read = image.get_attribute("src")

    def seen() -> Any:
        return _grey(
            page.request.get(page.url.removesuffix("/page/") + image.get_attribute("src")).body()
        )

    np.testing.assert_array_equal(seen(), decode_dicom(dicom, "c.dcm").pixels)
    page.locator(".window-of").select_option("whole range")
    page.locator(".controls .width").fill("128")
    page.locator(".controls .center").fill("100")
    page.locator('.world .image[src$="?center=100&width=128"]').wait_for()
    values = pydicom.dcmread(io.BytesIO(dicom)).pixel_array.astype(float)
    expected = np.clip((values - 99.5) / 127 + 0.5, 0, 1) * 255  # PS3.3 C.11.2.1.2
    np.testing.assert_allclose(seen(), expected, atol=0.6)
    assert page.locator(".window-of").input_value() == "chosen"
    page.get_by_role("button", name="Reset").click()
    page.locator(f'.world .image[src="{as_read}"]').wait_for()


def _grey(data: bytes) -> Any:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)


def test_the_image_zooms_and_pans_by_keys_wheel_and_mouse(page: Any) -> None:
    _open(page, "a <b>.png")
    stage, image = page.locator(".stage"), page.locator(".world .image")
    stage.focus()  # scrolls it into sight
    fitted = image.bounding_box()
    for _ in range(4):
        page.keyboard.press("+")
    near = image.bounding_box()
    assert near["width"] == pytest.approx(fitted["width"] * 1.25**4, rel=0.01)
    page.keyboard.press("ArrowRight")
    assert image.bounding_box()["x"] == pytest.approx(near["x"] - 48, abs=1)
    middle = stage.bounding_box()
    page.mouse.move(middle["x"] + middle["width"] / 2, middle["y"] + middle["height"] / 2)
    page.mouse.down()
    page.mouse.move(middle["x"] + middle["width"] / 2 + 30, middle["y"] + middle["height"] / 2)
    page.mouse.up()
    assert image.bounding_box()["x"] == pytest.approx(near["x"] - 18, abs=1)
    page.mouse.wheel(0, 120)
    page.wait_for_function(
        "before => document.querySelector('.image').getBoundingClientRect().width < before - 1",
        arg=near["width"],
    )
    page.keyboard.press("0")
    assert image.bounding_box() == fitted


@pytest.mark.parametrize(
    ("link", "ending"),
    [
        ("Picture with boxes (PNG)", "boxes.png"),
        ("Heat maps (PNG)", "heat.png"),
        ("Report (HTML)", "report.html"),
        ("Structured report (DICOM SR)", "sr.dcm"),
    ],
)
def test_what_is_downloaded_opens(page: Any, link: str, ending: str) -> None:
    _open(page, "c.dcm")
    with page.expect_download() as caught:
        page.get_by_role("link", name=link).click()
    data = caught.value.path().read_bytes()

    assert caught.value.suggested_filename == f"c.{ending}"
    if ending.endswith("png"):
        assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None
    elif ending.endswith("dcm"):
        assert pydicom.dcmread(io.BytesIO(data)).Modality == ending[:2].upper()
    else:
        assert RESEARCH_USE in data.decode()


def test_a_png_has_no_dicom_downloads_and_its_findings_name_the_undecided(page: Any) -> None:
    _open(page, "a <b>.png")
    page.locator(".downloads a", has_text="DICOM").first.wait_for(state="detached")

    assert page.locator(".downloads a").count() == 4
    rows = page.locator(".findings").first.locator("tbody tr").all_inner_texts()
    assert [row.split()[0] for row in rows] == ["Mass", "Effusion", "Pleural"]
    assert ["present" in row for row in rows] == [True, True, False]
    assert rows[2].split()[-1] == "1.00"


def test_everything_is_reached_by_keyboard_and_has_a_name(page: Any) -> None:
    _open(page, "a <b>.png")
    page.locator(".pick").focus()
    reached = [page.evaluate(FOCUSED)]
    while "Report" not in reached[-1] and len(reached) < 60:
        page.keyboard.press("Tab")
        reached.append(page.evaluate(FOCUSED))
    wanted = ("pick", "entry", "stage", "Zoom in", "strongest only", "heat-of", "level", "Report")
    places = [next(i for i, text in enumerate(reached) if name in text) for name in wanted]
    assert places == sorted(places)
    _open(page, "b.jpg")
    page.locator(".entry", has_text="c.dcm").focus()
    page.keyboard.press("Enter")
    page.locator(".look h2", has_text="c.dcm").wait_for()
    assert page.locator(".entry[aria-current]").all_inner_texts()[0].startswith("c.dcm")


def test_a_screen_reader_is_told_what_is_seen(page: Any) -> None:
    _open(page, "c.dcm")
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
        _open(page, name)
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
    _open(page, "a <b>.png")
    page.set_viewport_size({"width": width, "height": 740})
    page.evaluate("scrollTo(0, document.body.scrollHeight)")

    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    note = page.locator("[role=note]")
    assert note.inner_text() == f"{RESEARCH_USE}."
    place = note.bounding_box()
    assert place["y"] >= 0
    assert place["y"] + place["height"] <= 740
    page.set_viewport_size({"width": 1280, "height": 900})


def test_a_cleared_list_forgets_its_images(page: Any, address: str) -> None:
    _open(page, "a <b>.png")
    url = page.locator(".world .image").get_attribute("src")
    with urllib.request.urlopen(address + url) as answer:
        assert answer.status == 200
    page.get_by_role("button", name="Clear the list").click()
    page.locator(".empty").wait_for()

    assert page.locator(".entry").count() == 0
    with pytest.raises(urllib.error.HTTPError) as gone:
        urllib.request.urlopen(address + url)
    assert gone.value.code == 404
    assert page.heard == []
