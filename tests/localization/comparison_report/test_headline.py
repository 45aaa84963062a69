"""The one sentence: whom it names, when it names nobody, and what it says of the control."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cxrloc.datasets.provenance.leakage import LEAKED
from cxrloc.datasets.provenance.sidecar import Provenance
from cxrloc.localization.analyses.leakage import LocalizerAudit
from cxrloc.localization.comparison_report.headline import Headline, headline
from localization.comparison_report.drawn import (
    FAR,
    HALF,
    THIRD,
    WHOLE,
    Drawn,
    drawn,
    scattered,
    shifted,
)


class _Leaked(LocalizerAudit):
    @property
    def status(self) -> str:
        return LEAKED


def _of_scattered(leaked: tuple[str, ...] = (), **localizers: Any) -> Headline:
    """Localizers on boxes that the controls cannot guess."""
    audits = [_Leaked(name, 12) for name in leaked]
    return headline(drawn(truth=scattered, **localizers), audits)


def test_the_winner_is_named_with_the_difference_its_interval_and_the_control() -> None:
    said = _of_scattered(far=shifted(10), near=shifted(0))

    assert said.sentence.startswith(
        "near localizes better than far: its mean IoU of 1.000 is .667 higher "
        "(95 % interval .667 to .667), and "
    )
    assert (
        "higher than that of constant_box, a box that never looks at the image (" in said.sentence
    )
    assert (said.winner, said.best, said.rival) == ("near", "near", "far")
    assert said.difference is not None
    assert said.difference.value == pytest.approx(2 / 3)


def test_where_zero_is_in_the_interval_no_winner_is_named() -> None:
    said = _of_scattered(
        even=lambda i, d: scattered(i, d) if i % 2 == 0 else None,
        odd=lambda i, d: scattered(i, d) if i % 2 or i == 0 else None,
    )

    assert said.sentence.startswith("No winner can be named: odd leads even by .083 in mean IoU")
    assert "an interval that holds zero; odd beats constant_box" in said.sentence
    assert said.winner is None
    assert (said.best, said.rival) == ("odd", "even")


def test_two_that_are_level_have_no_winner_and_share_their_mean() -> None:
    said = headline(
        drawn(
            left=lambda i, d: WHOLE if d == "Mass" else None,
            right=lambda i, d: WHOLE if d == "Nodule" else None,
        ),
        (),
    )

    assert said.sentence.startswith(
        "No winner can be named: left and right have the same mean IoU of .500 "
    )


def test_one_that_beats_its_rival_but_not_the_control_says_so_first() -> None:
    # every ground-truth box is in one place, so the box of other patients is perfect
    said = headline(drawn(half=lambda i, d: HALF, third=lambda i, d: THIRD), ())

    assert said.sentence == (
        "No localizer beats constant_box, a box that never looks at the image: half, better than "
        "third by .167 in mean IoU (95 % interval .167 to .167), is .500 below it (.500 to .500)."
    )
    assert said.winner == "half"
    assert said.record()["over_control"]["verdict"] == "worse"


def test_a_localizer_as_good_as_the_control_is_no_better_than_it() -> None:
    said = headline(drawn(whole=lambda i, d: WHOLE, third=lambda i, d: THIRD), ())

    assert said.sentence.endswith(
        "but it is no better than constant_box, a box that never looks at the image."
    )


@pytest.mark.parametrize(
    ("box", "start"),
    [
        (shifted(0), "only beats constant_box, a box that never looks at the image, by "),
        (lambda i, d: FAR, "only loses to constant_box, a box that never looks at the image, by "),
    ],
)
def test_one_localizer_alone_is_set_against_the_control(box: Drawn, start: str) -> None:
    said = _of_scattered(only=box)

    assert said.sentence.startswith(start)
    assert said.sentence.endswith("and no other localizer was given.")
    assert (said.winner, said.rival) == (None, None)


def test_controls_alone_say_that_no_localizer_was_given() -> None:
    said = headline(drawn(), ())

    assert said.sentence == (
        "No localizer was given; of the controls, which never look at the image, prior_box comes "
        "furthest, with a mean IoU of 1.000."
    )
    assert said.record()["winner"] is None


def test_one_patient_gives_no_interval_and_no_winner() -> None:
    compared = drawn(1, whole=lambda i, d: WHOLE, half=lambda i, d: HALF)

    with pytest.warns(UserWarning, match="controls predict none"):
        said = headline(compared, ())

    assert said.sentence.startswith(
        "No winner can be named: whole leads half by .500 in mean IoU (no interval: too few "
        "patients); whole cannot be compared with constant_box"
    )
    assert json.loads(json.dumps(said.record(), allow_nan=False))["difference"] == {
        "value": 0.5,
        "low": None,
        "high": None,
        "verdict": "undefined",
    }


def test_who_was_trained_on_what_is_scored_never_wins() -> None:
    said = _of_scattered(("near",), far=shifted(10), near=shifted(0))

    assert said.sentence == (
        "No winner can be named: near leads far by .667 in mean IoU (95 % interval .667 to .667), "
        "but it was trained on images or patients that are scored here."
    )
    assert said.winner is None
    assert _of_scattered(("far",), far=shifted(10), near=shifted(0)).winner == "near"
    alone = _of_scattered(("near",), near=shifted(0)).sentence
    assert alone.startswith("near has a mean IoU of 1.000, but it was trained on")


def test_twins_are_one_and_the_next_other_localizer_is_the_rival() -> None:
    said = _of_scattered(far=shifted(10), box_head=shifted(0), mask_head=shifted(0.01))

    assert said.sentence.startswith("box_head localizes better than far")
    assert said.record()["same_boxes"] == {"box_head": ["mask_head"]}
    alone = _of_scattered(box_head=shifted(0), mask_head=shifted(0.01)).sentence
    assert alone.endswith("and mask_head draws the same boxes, so there is no other to beat.")


def test_a_variant_of_the_same_network_is_not_the_rival_where_there_is_another() -> None:
    def of(weights: str) -> Provenance:
        return Provenance(Path("x"), models={"all": {"sha256": weights}})

    boxes: dict[str, Any] = {"box": shifted(0), "mask": shifted(2), "cam": shifted(10)}
    provenances = {"box": of("a"), "mask": of("a"), "cam": of("b")}
    all_three = drawn(truth=scattered, inputs={"provenances": provenances}, **boxes)
    del boxes["cam"]
    variants = drawn(truth=scattered, inputs={"provenances": provenances}, **boxes)

    assert headline(all_three, ()).rival == "cam"
    assert headline(variants, ()).rival == "mask"
