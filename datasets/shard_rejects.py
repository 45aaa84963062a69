"""Films that shards lack: unreadable ones, and those that the shards were not made of."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow.parquet as pq

from cxrloc.datasets.radiograph import Radiograph
from cxrloc.datasets.shard_reader import HOW_TO_MAKE, ShardSet
from cxrloc.datasets.shards import REJECTS
from cxrloc.datasets.storage import Storage


def check_complete(shards: ShardSet, radiographs: Sequence[Radiograph], *, strict: bool) -> None:
    """Say which films the shards lack because their files could not be read.

    Args:
        shards: made of these films.
        radiographs: the films to be used; of these all others must be there.
        strict: such a film is an error.

    Raises:
        ValueError: for films that are neither in the shards nor in their rejects.parquet, or, in
            strict mode, for the first one that is in the latter.
    """
    absent = [r.image_id for r in radiographs if r.image_id not in shards]
    if not absent:
        return
    with Storage.at(shards.url).open(REJECTS) as stream:
        table = pq.read_table(stream, columns=["image_id", "reason"])
    reasons = dict(zip(*(column.to_pylist() for column in table.columns), strict=True))
    strange = [image for image in absent if image not in reasons]
    if strange:
        raise ValueError(
            f"{len(strange)} of {len(radiographs)} films are not in {shards.url}, the first is "
            f"{strange[0]}; " + HOW_TO_MAKE.format(out=shards.url, size=shards.size)
        )
    if strict:
        raise ValueError(f"{shards.url} lacks {absent[0]}: {reasons[absent[0]]}; see data.strict")
    for image in absent:
        print(f"shards: left out {image}: {reasons[image]}")
