"""The report as text: what stands in it, that it needs no network, and that it cannot be injected.

What only a browser can say (sorting, widths, printing) is in tests/browser.
"""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cxrloc.classification.metrics.bootstrap import Estimate
from cxrloc.classification.report.tables import Cell, ResultTable, TableRow
from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.localization.report.first_screen import (
    Answer,
    Scoreboard,
    ScoreCell,
    ScoreColumn,
    ScoreRow,
)
from cxrloc.localization.report.glossary import TERMS
from cxrloc.localization.report.html_tables import table_view
from cxrloc.localization.report.page import Report, front_pictures, render_report
from cxrloc.localization.report.sections import NamedFigure, Picture, Section

NAN = float("nan")


class _Page(HTMLParser):
    """All elements of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def values(self, attribute: str) -> list[str]:
        return [str(a[attribute]) for _, a in self.elements if attribute in a]


def _table(*blocks: str, localizer: str = "mask_rcnn") -> ResultTable:
    """One row per block; Mass has IoGT beside its figure, Nodule is undefined."""
    rows = [
        TableRow(
            block,
            {"measure": block.split("@")[0], "threshold": 0.5, "localizer": localizer},
            {
                "Mass": Cell(Estimate(0.25, 0.2, 0.3125), beside=0.61),
                "Nodule": Cell(Estimate(NAN, NAN, NAN)),
            },
            {"boxes": 1204},
        )
        for block in blocks
    ]
    return ResultTable("acc_iou", "Boxes found", tuple(rows), ("a miss counts as 0",))


def _scoreboard(name: str) -> Scoreboard:
    columns = (ScoreColumn("Localizer"), ScoreColumn("Skill", "over chance", "skill"))
    rows = (
        ScoreRow(name, (ScoreCell(".5", "[.4, .6]"),)),
        ScoreRow("blind", (ScoreCell("–"),), True),
    )
    return Scoreboard(name, "with intervals", columns, rows)


def _figure(points: int = 3) -> NamedFigure:
    figure = Figure()
    FigureCanvasAgg(figure)
    figure.subplots().plot([i % 7 for i in range(points)], "o")
    return NamedFigure("curve", "A curve", "A curve that rises", figure)


def _picture(group: str, title: str = "Mass") -> Picture:
    jpeg = b"\xff\xd8\xff\xd9"
    results = {"near": "IoU .500"}
    return Picture(group, title, results, jpeg, "Near hits", jpeg, "Mass on a.png", "Two boxes")


def _report(**changes: Any) -> Report:
    tables, figures = (_table("acc_iou@0.5"),), (_figure(),)
    section = Section("found", "Boxes found", "Half are.", ("Why?",), tables, figures)
    facts: dict[str, Any] = {
        "title": "Two localizers",
        "answer": Answer("No winner: the interval holds zero.", words=("Not distinguishable.",)),
        "sections": (section,),
        "gallery": (_picture("Best"),),
        "manifest": {"command": ["compare_localizers.py", "--out", "x"], "seed": 7},
        "diseases": ("Mass", "Nodule"),
    }
    return Report(**facts | changes)


def test_the_page_names_no_address_and_its_policy_admits_only_its_own_style_and_script() -> None:
    html = render_report(_report())

    assert re.findall(r"https?://|//[a-z]+\.", html) == []
    policy = next(str(a["content"]) for _, a in _Page(html).elements if "http-equiv" in a)
    for tag, kind in (("style", "style-src"), ("script", "script-src")):
        inside = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        assert len(inside) == 1
        digest = base64.b64encode(hashlib.sha256(inside[0].encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not [a for _, a in _Page(html).elements if "style" in a or "onclick" in a]


def test_markup_in_a_name_stays_text() -> None:
    evil = "<img src=x onerror=alert(1)>"
    section = Section("found", evil, evil, (evil,), (_table("acc_iou@0.5", localizer=evil),))

    answer = Answer(evil, evil, scoreboard=_scoreboard(evil), words=(evil,))
    report = _report(title=evil, answer=answer, sections=(section,), manifest={"a": evil})

    page = _Page(render_report(report))

    assert [a for _, a in page.elements if a.get("src") == "x"] == []
    assert "".join(page.texts).count(evil) >= 9


def test_a_cell_sorts_by_its_figure_and_prints_interval_and_iogt_in_lines_of_their_own() -> None:
    view = table_view(_table("acc_iou@0.5"), ("Mass", "Nodule"))

    (row,) = view.blocks[0].rows
    assert [column.name for column in view.columns] == ["localizer", "Mass", "Nodule", "boxes"]
    assert [column.numeric for column in view.columns] == [False, True, True, True]
    assert (row[1].text, row[1].small, row[1].key) == (".250", ("[.200, .312]", "(.61)"), "0.25")
    assert (row[2].text, row[2].small, row[2].key) == ("undefined", (), "")
    assert (row[3].text, row[3].key) == ("1,204", "1204.0")


def test_the_first_cell_says_what_the_row_is_when_the_next_columns_are_out_of_sight() -> None:
    lead: dict[str, str | float] = {"localizer": "a", "setting": "gated", "rule": "any"}
    table = ResultTable("t", "T", (TableRow("mean_iou", lead, {"Mass": 3}),), ())

    first = table_view(table, ()).blocks[0].rows[0][0]
    assert (first.text, first.small, first.key) == ("a", ("gated, any",), "a")


def test_a_disease_is_explained_as_one_and_an_unknown_column_is_not() -> None:
    view = table_view(_table("acc_iou@0.5"), ("Mass",))

    mass, nodule = view.columns[1], view.columns[2]
    assert (mass.anchor, mass.definition) == ("term-disease", TERMS["disease"].definition)
    assert (nodule.anchor, nodule.definition) == ("", "")
    assert view.blocks[0].anchor == "term-acc-iou"


def test_the_main_thresholds_are_seen_first_and_the_others_are_folded() -> None:
    names = [f"acc_iou@{t}" for t in (0.1, 0.25, 0.3, 0.5, 0.75)]

    view = table_view(_table(*names), ())

    assert [b.heading for b in view.blocks] == ["acc_iou@0.1", "acc_iou@0.3", "acc_iou@0.5"]
    assert [b.heading for b in view.more] == ["acc_iou@0.25", "acc_iou@0.75"]


def test_of_a_long_table_the_first_36_rows_are_seen() -> None:
    pairs = [f"a minus b{i}" for i in range(40)]

    view = table_view(_table(*pairs), ())

    assert (len(view.blocks), len(view.more)) == (36, 4)


def test_a_table_of_other_thresholds_alone_is_not_folded() -> None:
    view = table_view(_table("acc_iou@0.25", "acc_iou@0.75"), ())

    assert (len(view.blocks), len(view.more)) == (2, 0)


def test_an_empty_table_has_no_columns_and_no_rows() -> None:
    view = table_view(ResultTable("t", "Nothing", (), ()), ())

    assert (view.columns, view.blocks, view.more) == ((), (), ())


def test_the_stamp_stands_at_the_top_and_on_every_table() -> None:
    stamp = "LEAKED: 3 patients of the evaluation were trained on"
    tables = (_table(*(f"acc_iou@{t}" for t in (0.1, 0.25))), _table("mean_iou"))
    html = render_report(_report(stamp=stamp, sections=(Section("a", "A", "B", tables=tables),)))

    captions = re.findall(r"<caption>.*?</caption>", html)
    assert len(captions) == 3  # the folded thresholds are a table of their own
    assert all(stamp in caption for caption in captions)
    assert html.index(stamp) < html.index("<h1 ")
    assert "stamp" not in "".join(re.findall(r"<body.*?<script", render_report(_report()), re.S))


def test_every_link_within_the_page_has_its_place_and_every_place_is_one() -> None:
    page = _Page(render_report(_report()))

    places, links = page.values("id"), page.values("href")
    assert len(places) == len(set(places))
    assert {link.removeprefix("#") for link in links} <= set(places)
    assert {"#answer", "#images", "#details", "#definitions", "#manifest"} <= set(links)
    assert {"found", "gallery"} <= set(places)


def test_definitions_research_use_and_manifest_are_in_the_page() -> None:
    text = " ".join("".join(_Page(render_report(_report())).texts).split())

    for term in TERMS.values():
        assert " ".join(term.definition.split()) in text
    assert text.count(RESEARCH_USE) >= 2
    assert "compare_localizers.py --out x" in text
    assert '"seed": 7' in text


def test_no_line_ends_within_an_interval() -> None:
    answer = Answer("a is .1 higher (95 % interval .05 to .15)", words=("a .3 [.25, .35]",))
    html = render_report(_report(answer=answer))

    space = "\N{NO-BREAK SPACE}"
    assert f"a .3 [.25,{space}.35]." in html
    assert f"(95{space}% interval .05{space}to{space}.15)" in html


def test_every_picture_is_inside_the_page_and_described() -> None:
    images = [a for tag, a in _Page(render_report(_report())).elements if tag == "img"]

    assert [image["alt"] for image in images] == ["Near hits", "A curve that rises", "Two boxes"]
    kinds = [str(image["src"]).split(";")[0] for image in images]
    assert kinds == ["data:image/jpeg", "data:image/svg+xml", "data:image/jpeg"]


def test_six_pictures_open_the_report_as_many_of_each_group_and_together() -> None:
    many = [_picture(g, f"{g}{i}") for g, n in (("a", 4), ("b", 1), ("c", 4)) for i in range(n)]

    assert [p.title for p in front_pictures(many)] == ["a0", "a1", "a2", "b0", "c0", "c1"]
    assert [p.title for p in front_pictures(many[:3])] == ["a0", "a1", "a2"]


def test_a_section_shows_its_finding_while_it_is_folded() -> None:
    html = render_report(_report())

    (summary,) = re.findall(r"<summary><h3 id=\"found-title\">.*?</summary>", html)
    assert "Half are." in summary
    assert html.index(summary) < html.index('<section id="found"')


@pytest.mark.parametrize("finding", ["", " ", "two\nlines"])
def test_a_section_without_a_finding_of_one_line_is_refused(finding: str) -> None:
    with pytest.raises(ValueError, match="section 'a': expected a finding of one line"):
        Section("a", "A", finding)


def test_a_figure_of_many_points_is_a_png() -> None:
    section = Section("points", "Points", "Many.", figures=(_figure(20_000),))

    (_, image, _) = [
        a for tag, a in _Page(render_report(_report(sections=(section,)))).elements if tag == "img"
    ]
    assert str(image["src"]).startswith("data:image/png;base64,iVBORw0KGgo")


def test_the_same_report_gives_the_same_page() -> None:
    assert render_report(_report()) == render_report(_report())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (("froc", "froc"), "section key 'froc' is taken"),
        (("gallery",), "section key 'gallery' is taken"),
        (("Two words",), "section key 'Two words': expected small letters"),
    ],
)
def test_a_section_key_that_cannot_be_an_anchor_is_refused(
    keys: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        _report(sections=tuple(Section(key, "Title", "Found.") for key in keys))
