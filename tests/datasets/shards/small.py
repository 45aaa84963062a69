"""Eight images as shards of two."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cxrloc.datasets.radiograph import Radiograph
from cxrloc.datasets.shards.engines import Engine, build_shards, local_engine
from cxrloc.datasets.shards.plan import ShardPlan, plan_shards
from cxrloc.datasets.shards.write import ShardRecord

# Images 0 to 7 of value 10 i; images 0 to 4 in split a, the others in b.
COUNT = 8


def plans(images: Sequence[Radiograph], out: Path | str, **changes: Any) -> list[ShardPlan]:
    """Two images a shard at 8 px."""
    splits = {r.image_id: "a" if int(r.image_id[0]) < 5 else "b" for r in images}
    settings: dict[str, Any] = {"sizes": (8,), "diseases": ("Mass",), "rows": 2, **changes}
    return plan_shards(images, splits, str(out), **settings)


def build(planned: Sequence[ShardPlan], engine: Engine | None = None) -> list[ShardRecord]:
    return build_shards(planned, engine or local_engine(1), lambda: {"who": "test"})


def contents(out: Path, pattern: str = "size=*/split=*/*.parquet") -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.glob(pattern))}
