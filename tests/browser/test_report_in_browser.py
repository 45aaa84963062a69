"""The report in a real browser: quiet, self-contained, sortable, readable on a phone, printable."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from browser.opened import unfold
from cxrloc.datasets.files.manifest import RESEARCH_USE

pytestmark = pytest.mark.slow


def _column(page: Any, place: int) -> list[float | None]:
    """Figures of a column in the first block of the first table, as they stand now."""
    texts: list[str] = page.evaluate(
        "place => [...document.querySelector('.table table').tBodies[0].rows]"
        ".filter(row => !row.classList.contains('block'))"
        ".map(row => row.cells[place].dataset.value)",
        place,
    )
    return [float(text) if text else None for text in texts]


def test_the_page_says_nothing_and_asks_for_nothing_but_itself(page: Any, report: Path) -> None:
    unfold(page)
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    page.wait_for_timeout(200)

    expected_starts = (report.as_uri()[:60], "data:image/")
    assert [text for text in page.heard if not text.startswith(expected_starts)] == []
    assert any(text.startswith("file:") for text in page.heard)  # the listener does hear


def test_the_policy_stops_a_script_and_a_request_that_slipped_in(page: Any) -> None:
    page.evaluate(
        "() => { window.stopped = []; document.addEventListener('securitypolicyviolation',"
        " event => window.stopped.push(event.effectiveDirective));"
        "const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
        "document.body.append(s); const i = new Image(); i.src = 'file:///nothing.png';"
        "document.body.append(i); }"
    )
    page.wait_for_function("window.stopped.length === 2")

    assert page.evaluate("window.stopped.sort()") == ["img-src", "script-src-elem"]
    assert page.evaluate("window.ran") is None


def test_every_picture_is_drawn_and_has_a_description(page: Any) -> None:
    images = page.evaluate(
        "[...document.images].map(i => [i.alt, i.complete && i.naturalWidth, i.naturalHeight])"
    )

    assert len(images) == 6 + 3 + 12  # in front; boxplots, curves, pairs; three groups of four
    assert [alt for alt, width, height in images if not alt or not width or not height] == []


@pytest.mark.parametrize("key", ["click", "Enter", "Space"])
def test_a_heading_sorts_its_column_by_figures_up_then_down_then_as_it_was(
    page: Any, key: str
) -> None:
    unfold(page)
    heading = page.locator(".table table").first.locator("thead th", has_text="Mass")
    place = heading.evaluate("th => th.cellIndex")
    before = _column(page, place)

    def press() -> str | None:
        button = heading.locator("button")
        if key == "click":
            button.click()
        else:
            button.focus()
            page.keyboard.press(key)
        order: str | None = heading.get_attribute("aria-sort")
        return order

    numbers = [value for value in before if value is not None]
    assert len(set(numbers)) > 2
    assert before not in (sorted(numbers), sorted(numbers, reverse=True))
    assert press() == "ascending"
    assert _column(page, place) == sorted(numbers)
    assert press() == "descending"
    assert _column(page, place) == sorted(numbers, reverse=True)
    assert press() is None
    assert _column(page, place) == before


def test_sorting_another_column_moves_the_mark_and_keeps_rows_within_their_block(
    page: Any,
) -> None:
    unfold(page)
    table = page.locator(".table table").first
    rows = "t => [...t.tBodies].map(b => [...b.rows].map(r => r.innerText))"
    blocks = [sorted(block) for block in table.evaluate(rows)]
    for name in ("Mass", "localizer"):
        table.locator("thead th", has_text=name).first.locator("button").click()

    assert table.locator("th[aria-sort]").all_inner_texts() == ["localizer"]
    after = table.evaluate(rows)
    assert [sorted(block) for block in after] == blocks
    names = [row.split("\t")[0].strip() for row in after[0][1:]]
    assert names == sorted(names)


@pytest.mark.parametrize("width", [320, 375, 768, 1280, 1920])
def test_the_page_never_scrolls_sideways_but_wide_tables_do_by_themselves(
    page: Any, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 740})
    unfold(page)

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.body.scrollWidth") <= width
    if width == 375:
        inside = "[...document.querySelectorAll('.table .scroll')].map(s => s.scrollWidth > 375)"
        assert any(page.evaluate(inside))


def test_headings_do_not_skip_a_level_and_there_is_one_of_the_first(page: Any) -> None:
    levels = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].map(h => Number(h.tagName[1]))"
    )

    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_a_reader_by_ear_finds_landmarks_names_and_the_way_past_the_contents(page: Any) -> None:
    tree = page.locator("body").aria_snapshot()

    for role in ("banner", "navigation", "main", "contentinfo", "alert"):
        assert re.search(rf"^- {role}\b|^  - {role}\b", tree, re.M), f"{role} is missing:\n{tree}"
    unnamed = page.evaluate(
        "[...document.querySelectorAll('table')].filter(t => !t.caption?.textContent.trim()).length"
    )
    assert unnamed == 0
    assert page.evaluate("document.documentElement.lang") == "en"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the answer"


def test_the_research_use_is_in_sight_wherever_the_reader_is(page: Any) -> None:
    for share in (0.0, 0.5, 1.0):
        page.evaluate("s => window.scrollTo(0, s * document.body.scrollHeight)", share)
        place = page.locator("footer").bounding_box()
        assert 0 <= place["y"] <= 900 - place["height"]
        assert RESEARCH_USE in page.locator("footer").inner_text()


def test_text_is_dark_on_white(page: Any) -> None:
    colours = page.evaluate(
        "['body', 'p', 'td', 'small', 'figcaption', 'footer p', '.stamp', 'a', 'thead button',"
        " '.finding', '.control td']"
        ".map(s => getComputedStyle(document.querySelector(s)).color)"
    )

    for colour in colours:
        channels = [int(c) / 255 for c in re.findall(r"\d+", colour)[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert 1.05 / (luminance + 0.05) >= 4.5, colour  # WCAG 2, level AA


def test_the_page_prints_with_all_that_is_folded(page: Any) -> None:
    folded = page.evaluate("document.querySelectorAll('details:not([open])').length")
    page.evaluate(
        "addEventListener('beforeprint', () => {"
        " window.left = document.querySelectorAll('details:not([open])').length; })"
    )

    paper = page.pdf(prefer_css_page_size=True)

    assert paper.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", paper)) >= 4
    assert folded > 0
    assert page.evaluate("window.left") == 0
    assert page.evaluate("document.querySelectorAll('details:not([open])').length") == folded
