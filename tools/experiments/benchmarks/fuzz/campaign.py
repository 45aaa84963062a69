"""Load files that are damaged or say absurd things, and sort what comes of it.

Each loader gets a file that its writer wrote, changed in one place. Right is: refused in one
sentence that names the file, or the same content, or said in a warning. Wrong are any other error
(a traceback for the user), a sentence without a name, and absurd content without a word.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import itertools
import math
import random
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cxrloc.classification.report.tables import ResultTable, TableRow, Value, to_text
from cxrloc.tools.experiments.benchmarks.fuzz.mutations import Mutation

REFUSED, RIGHT, CHANGED = "refused", "accepted and right", "another valid file"
TRACEBACK, UNNAMED, SILENT = "traceback", "no name", "silent"
OUTCOMES = (REFUSED, RIGHT, CHANGED, TRACEBACK, UNNAMED, SILENT)
WRONG = (TRACEBACK, UNNAMED, SILENT)
_LONGEST = 4_000  # characters of a sentence
_LONGEST_NAME = 1_000
_NAN = "not a number"  # equal to itself
_LARGEST = 1e8  # of a number in a file that says nothing absurd


@dataclass(frozen=True)
class Target:
    """A file and what loads it.

    Attributes:
        loader: name of the row in the table.
        file: whole, as its writer wrote it.
        load: returns what it says; called with the file's path.
        mutations: ways to change it, each as often as the others.
        hashed: its content is held to a hash, so that no change is valid.
        unbounded: it may say any finite number.
        gaps: it may leave any value out.
    """

    loader: str
    file: Path
    load: Callable[[Path], Any]
    mutations: Sequence[Mutation]
    hashed: bool = False
    unbounded: bool = False
    gaps: bool = False


@dataclass
class Campaign:
    """What came of the mutations.

    Attributes:
        counts: loader -> outcome -> how often.
        wrong: a line for each outcome that is none of the right ones.
    """

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def table(self) -> str:
        """A row for each loader, and one for all."""
        counts = self.counts | {"all": sum(self.counts.values(), Counter())}
        rows = []
        for loader, count in counts.items():
            cells: dict[str, Value] = {outcome: count[outcome] for outcome in OUTCOMES}
            rows.append(TableRow("", {"loader": loader, "mutations": count.total()}, cells))
        return to_text(ResultTable("fuzz", "Mutated files", tuple(rows), ()))


def fuzz(targets: Sequence[Target], mutations: int, seed: int = 0) -> Campaign:
    """Load each target in turn until so many mutated files were loaded; the files are restored."""
    campaign = Campaign()
    whole = {target.file: target.file.read_bytes() for target in targets}
    before = [_loaded(target) for target in targets]
    for target, (facts, _) in zip(targets, before, strict=True):
        if isinstance(facts, BaseException):
            raise ValueError(f"{target.loader}: its own file is refused") from facts
    numbers = zip(range(mutations), itertools.cycle(range(len(targets))), strict=False)
    for number, place in numbers:
        target = targets[place]
        rng = random.Random(f"{seed} {number} {target.loader}")
        mutated = rng.choice(target.mutations)(whole[target.file], rng)
        target.file.write_bytes(mutated)
        outcome, said = _outcome(target, *before[place])
        target.file.write_bytes(whole[target.file])
        campaign.counts.setdefault(target.loader, Counter())[outcome] += 1
        if outcome in WRONG:
            campaign.wrong.append(f"{target.loader}, mutation {number}: {outcome}: {said}")
    return campaign


def _loaded(target: Target) -> tuple[Any, str]:
    """Facts of what is loaded, or the error; and what was said."""
    said = io.StringIO()
    with (
        warnings.catch_warnings(record=True) as caught,
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
    ):
        warnings.simplefilter("always")
        try:
            facts: Any = list(_facts(target.load(target.file)))
        except BaseException as error:
            facts = error
    if isinstance(facts, SystemExit):
        facts = ValueError(said.getvalue().strip().splitlines()[-1])
    return facts, said.getvalue() + "".join(str(warning.message) for warning in caught)


def _outcome(target: Target, before: Sequence[Any], before_said: str) -> tuple[str, str]:
    facts, said = _loaded(target)
    if isinstance(facts, ValueError | OSError):
        text = str(facts)
        named = target.file.name in text or target.file.parent.name in text
        plain = not isinstance(facts, UnicodeError) and "\n" not in text and len(text) < _LONGEST
        return (REFUSED if named and plain else UNNAMED), f"{type(facts).__name__}: {text[:300]}"
    if isinstance(facts, BaseException):
        return TRACEBACK, f"{type(facts).__name__}: {str(facts)[:300]}"
    if said != before_said or facts == before:
        return RIGHT, ""
    odd = [fact for fact in facts if _is_odd(fact, target)]
    if target.hashed or len(odd) > sum(_is_odd(fact, target) for fact in before):
        return SILENT, f"other content than was written, {odd[:3]!r}"[:300]
    return CHANGED, ""


def _is_odd(fact: Any, target: Target) -> bool:
    if isinstance(fact, str):
        gap = fact == _NAN and not target.gaps
        return gap or "\0" in fact or len(fact) > _LONGEST_NAME
    if isinstance(fact, float | int):
        return not math.isfinite(fact) or (abs(fact) > _LARGEST and not target.unbounded)
    return False


def _facts(value: Any) -> Iterator[Any]:
    """All numbers and texts of what was loaded, in order; arrays as their bytes and extremes."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        yield from _facts(list(itertools.chain.from_iterable(value.items())))
    elif hasattr(value, "state_dict"):
        yield from _facts(value.state_dict())
    elif hasattr(value, "detach"):
        yield from _facts(value.detach().float().numpy())
    elif isinstance(value, np.ndarray):
        yield hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        if value.size and value.dtype.kind in "fiu":
            known = np.nan_to_num(value, nan=0.5)
            yield from (float(known.min()), float(known.max()))
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes | Path):
        for inner in value:
            yield from _facts(inner)
    elif isinstance(value, float) and math.isnan(value):
        yield _NAN
    else:
        yield str(value) if isinstance(value, Path) else value
