"""Every loader refuses damaged and absurd files in one sentence with their name, or says more."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from cxrloc.tools.experiments.benchmarks.fuzz.campaign import (
    REFUSED,
    RIGHT,
    SILENT,
    TRACEBACK,
    UNNAMED,
    Target,
    fuzz,
)
from cxrloc.tools.experiments.benchmarks.fuzz.mutations import JSON, absurd_json
from cxrloc.tools.experiments.benchmarks.fuzz.targets import targets

MUTATIONS = 2000


def test_no_mutation_of_any_file_ends_in_a_traceback_or_in_silence(tmp_path: Path) -> None:
    loaders = targets(tmp_path / "files")
    campaign = fuzz(loaders, MUTATIONS)
    assert campaign.wrong == []
    assert len(campaign.counts) == len(loaders) > 30
    total = sum(count.total() for count in campaign.counts.values())
    assert total == MUTATIONS
    assert sum(count[REFUSED] for count in campaign.counts.values()) > MUTATIONS / 2


@pytest.mark.parametrize(
    ("wrong", "outcome"),
    [
        ("traceback", TRACEBACK),
        ("unnamed", UNNAMED),
        ("silent", SILENT),
        ("warned", RIGHT),
        ("refused", REFUSED),
    ],
)
def test_the_campaign_sees_what_a_loader_does_wrong(
    tmp_path: Path, wrong: str, outcome: str
) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": 1, "b": "x"}')

    def load(file: Path) -> object:
        if file.read_bytes() == b'{"a": 1, "b": "x"}':
            return 1
        if wrong == "traceback":
            raise KeyError("a")
        if wrong in ("unnamed", "refused"):
            raise ValueError("no good" if wrong == "unnamed" else f"{file}: no good")
        print("odd" if wrong == "warned" else "", end="")
        return 1e308

    campaign = fuzz([Target("a", path, load, JSON)], 20)
    assert campaign.counts["a"].total() == 20
    assert campaign.counts["a"][outcome] >= 15  # some mutations change nothing
    assert bool(campaign.wrong) == (outcome in (TRACEBACK, UNNAMED, SILENT))
    assert path.read_text() == '{"a": 1, "b": "x"}'


def test_a_seed_makes_the_same_mutations(tmp_path: Path) -> None:
    document = json.dumps({"a": [1, 2, {"b": "c"}], "d": None}).encode()
    first, second = ([absurd_json(document, random.Random(n)) for n in range(50)] for _ in range(2))
    assert first == second
    assert len(set(first)) > 30
