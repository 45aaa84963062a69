"""Break a JSON document at random places, for tests that no reader ends in a traceback."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

VALUES: tuple[Any, ...] = (
    *(None, "", "x", "0", -1, 0, 1, 2, 1.5, 1e308, float("nan"), float("inf"), True, 10**30),
    *(
        [],
        [1],
        [[]],
        [[1, 2]],
        [None] * 4,
        [0.1] * 4,
        ["a"],
        {},
        {"counts": "00"},
        {"size": [1, 1]},
    ),
    *({"size": [1024, 1024], "counts": "zz"}, "\ud800", [[[[1]]]], {"id": {}}),
)


def mutated(document: Any, rng: random.Random) -> Any:
    """The document with one to three values, at any depth, deleted or replaced."""
    document = json.loads(json.dumps(document))
    for _ in range(rng.randint(1, 3)):
        parent: Any = None
        key: Any = None
        node = document
        while isinstance(node, dict | list) and node and (parent is None or rng.random() < 0.85):
            keys = list(node) if isinstance(node, dict) else range(len(node))
            parent, key = node, rng.choice(keys)
            node = node[key]
        if parent is not None and rng.random() < 0.2:
            del parent[key]
        elif parent is not None:
            parent[key] = copy.deepcopy(rng.choice(VALUES))
    return document
