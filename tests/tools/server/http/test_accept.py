"""Which media type an Accept header asks for."""

from __future__ import annotations

import pytest

from cxrloc.tools.server.http.access import chosen_type
from cxrloc.tools.server.http.problems import ProblemError

OFFERED = ("application/json", "image/png", "text/html")


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("image/png", "image/png"),
        ("IMAGE/PNG", "image/png"),
        ("image/*", "image/png"),
        ("text/html, application/json;q=0.9", "text/html"),
        ("image/png;q=0.2, */*;q=0.5", "application/json"),
        ("application/json;q=0, */*", "image/png"),
        ("image/png; q=nonsense, text/html;q=0.1", "text/html"),
        ("image/png; q=nan, text/html;q=0.1", "text/html"),
    ],
)
def test_the_best_offered_type_is_chosen(accept: str, expected: str) -> None:
    assert chosen_type(accept, OFFERED) == expected


@pytest.mark.parametrize("accept", ["image/webp", "application/json;q=0", ";;", "a/b;q=7"])
def test_none_that_is_acceptable_is_406(accept: str) -> None:
    with pytest.raises(ProblemError, match="offered: application/json") as refused:
        chosen_type(accept, OFFERED)
    assert refused.value.status_code == 406
