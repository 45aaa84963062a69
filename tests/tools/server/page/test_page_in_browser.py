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
from tools.server.page.actions import drawn_boxes, open_image

pytestmark = pytest.mark.slow


def test_three_images_are_predicted_and_the_bad_ones_say_why(page: Any) -> None:
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
    addresses = (address, address.replace("http:", "ws:"), "data:", "blob:")

    assert page.heard == []
    assert [url for url in page.asked if not url.startswith(addresses)] == []
    assert any(url.startswith("ws:") for url in page.asked)  # the listener does hear


@pytest.mark.parametrize("width", [1280, 375])
def test_axe_finds_nothing_on_the_page(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    open_image(page, "c.dcm")  # beside the two files that could not be predicted
    found = violations(page)
    page.set_viewport_size({"width": 1280, "height": 900})

    assert found == []


def test_axe_finds_nothing_on_the_report_of_an_image(page: Any, browser: Any) -> None:
    open_image(page, "c.dcm")
    with page.expect_download() as caught:
        page.get_by_role("link", name="Report (HTML)").click()
    report = browser.new_page()
    report.set_content(caught.value.path().read_text())
    found = violations(report)
    report.close()

    assert found == []


def violations(page: Any) -> list[str]:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing")
    result = axe.Axe().run(page)
    assert len(result.response["passes"]) > 5, "axe did not look"
    return [f"{each['id']}: {each['nodes'][0]['html']}" for each in result.response["violations"]]


def test_boxes_of_both_localizers_stand_where_the_record_says(page: Any) -> None:
    open_image(page, "c.dcm")
    assert drawn_boxes(page) == {
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
    np.testing.assert_allclose(
        [line["width"], line["height"]], [scale * v for v in first["bbox"][2:]], atol=5
    )


def test_localizers_and_diseases_are_toggled_without_asking_the_server(page: Any) -> None:
    open_image(page, "a <b>.png")
    asked = len(page.asked)
    page.locator(".localizer", has_text="grad_cam").locator("input").uncheck()
    assert drawn_boxes(page) == {("mask_rcnn", "Mass"), ("mask_rcnn", "Effusion")}
    page.locator(".toggle.disease", has_text="Mass").locator("input").uncheck()
    assert drawn_boxes(page) == {("mask_rcnn", "Effusion")}
    strongest = page.locator(".box").count()
    page.get_by_label("strongest only").uncheck()
    assert page.locator(".box").count() > strongest
    page.get_by_label("strongest only").check()
    page.locator(".localizer", has_text="grad_cam").locator("input").check()
    page.locator(".toggle.disease", has_text="Mass").locator("input").check()

    assert len(drawn_boxes(page)) == 4
    assert len(page.asked) == asked


def test_a_heat_map_lies_over_the_image_as_opaque_as_asked(page: Any) -> None:
    open_image(page, "a <b>.png")
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
    open_image(page, "a <b>.png")
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
    open_image(page, "c.dcm")
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
    open_image(page, "a <b>.png")
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
    open_image(page, "c.dcm")
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
    open_image(page, "a <b>.png")
    page.locator(".downloads a", has_text="DICOM").first.wait_for(state="detached")

    assert page.locator(".downloads a").count() == 4
    rows = page.locator(".findings").first.locator("tbody tr").all_inner_texts()
    assert [row.split()[0] for row in rows] == ["Mass", "Effusion", "Pleural"]
    assert ["present" in row for row in rows] == [True, True, False]
    assert rows[2].split()[-1] == "1.00"


def test_a_cleared_list_forgets_its_images(page: Any, address: str) -> None:
    open_image(page, "a <b>.png")
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
