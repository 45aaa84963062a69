"""The report as it opens: the answer first, six images, folded sections that links open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from browser.opened import DISEASES, PATIENCE_MS, SCREEN, top_of, unfold

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing (dev)")
pytestmark = pytest.mark.slow


def test_the_first_screen_holds_the_answer_the_forest_plot_and_the_scoreboard(page: Any) -> None:
    for part in ("h1", ".forest table", ".board table"):
        box = page.locator(part).bounding_box()
        assert box["y"] + box["height"] <= SCREEN[1], part
    assert page.locator("h1").inner_text().startswith("near localizes better than far: its mean")
    names = page.locator(".forest tbody th").all_inner_texts()
    assert [name.split(" ")[0] for name in names] == [*DISEASES, "All"]
    rows = page.locator(".board tbody th[scope=row]").all_inner_texts()
    assert rows[0].startswith("near")
    assert "twin: the same boxes to the eye" in rows[0]
    assert [row.strip() for row in rows[1:3]] == ["far", "prior_box"]


def test_a_dot_lies_on_the_side_of_the_better_one_and_within_its_interval(page: Any) -> None:
    places = page.evaluate(
        "[...document.querySelectorAll('.forest .plot circle')].map(dot => {"
        " const x = e => { const r = e.getBoundingClientRect(); return [r.left, r.right]; };"
        " const svg = dot.closest('td').firstElementChild;"
        " return [x(svg.querySelector('.zero')), x(dot), x(svg.querySelector('.interval'))]; })"
    )

    assert len(places) == len(DISEASES)
    for zero, dot, interval in places:
        middle = sum(dot) / 2
        assert zero[1] < middle  # `near` is the better one, and stands to the right
        assert interval[0] <= middle <= interval[1]


def test_six_images_follow_and_at_most_four_screens_stand_before_the_folded_part(
    page: Any,
) -> None:
    images = page.locator("#images img")

    assert images.count() == 6
    alts = [images.nth(i).get_attribute("alt") for i in range(6)]
    assert all("near IoU ." in alt or "near IoU 1" in alt for alt in alts)
    assert not [alt for alt in alts if "twin" in alt]
    assert SCREEN[1] < top_of(page, "#details") <= 4 * SCREEN[1]
    assert page.locator("details.part[open]").count() == 0
    findings = page.locator(".part > summary .finding").all_inner_texts()
    assert len(findings) == 3 + 3  # sections; gallery, definitions and manifest
    assert findings[0].startswith("Mean IoU: near ")


@pytest.mark.parametrize("script", [True, False])
def test_a_link_opens_the_section_that_it_leads_into(
    browser: Any, report: Path, script: bool
) -> None:
    context = browser.new_context(java_script_enabled=script)
    opened = context.new_page()
    opened.goto(f"{report.as_uri()}#paired")

    assert opened.locator("#paired p").first.is_visible()
    assert not opened.locator("#means p").first.is_visible()
    if script:
        opened.locator("nav a", has_text="Definitions").click()
        opened.locator("#term-IoU").wait_for()
    opened.close()
    context.close()


def test_one_button_unfolds_all_sections_and_folds_them_again(page: Any) -> None:
    button = page.locator("button.unfold")

    button.click()
    assert page.locator("details.part:not([open])").count() == 0
    assert button.inner_text() == "Fold all"
    button.click()
    assert page.locator("details.part[open]").count() == 0


@pytest.mark.parametrize(
    ("width", "part"), [(SCREEN[0], ""), (375, ""), (SCREEN[0], "#means"), (375, "#manifest")]
)
def test_axe_finds_nothing(page: Any, width: int, part: str) -> None:
    """On the page as it opens, and in a part of each kind that is unfolded."""
    page.set_viewport_size({"width": width, "height": 812})
    if part:
        unfold(page)

    result = axe.Axe().run(page, context=part or None)

    assert len(result.response["passes"]) > 5, "axe did not look"
    assert [v["id"] for v in result.response["violations"]] == [], result.generate_report()


def test_on_a_phone_the_answer_is_seen_first(browser: Any, report: Path) -> None:
    phone = browser.new_page(viewport={"width": 375, "height": 740})
    phone.set_default_timeout(PATIENCE_MS)
    phone.goto(report.as_uri())

    box = phone.locator("h1").bounding_box()
    assert box["y"] + box["height"] < 740
    assert top_of(phone, "#details") <= 4 * 740
    phone.close()
