"""Predict images on a Spark cluster: each task does one part of the tables, and writes it.

Every executor needs this package, and must reach images and results: paths on a disk that all
share, or URLs that fsspec opens. The models are broadcast once, and each Python process of an
executor loads them once, for one thread.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrloc.datasets.files.atomic import whole_file
from cxrloc.datasets.shards.spark import collected
from cxrloc.localization.diagnosis.engines.models import loaded
from cxrloc.localization.diagnosis.engines.part import OpenParts, Part
from cxrloc.localization.diagnosis.engines.tally import Tally
from cxrloc.localization.diagnosis.engines.work import Work, in_turn

if TYPE_CHECKING:
    from tqdm import tqdm

    from cxrloc.localization.diagnosis.diagnoser import Diagnoser

# parts of a job: the driver holds their listing, and the others wait for the last of them
_PARTS_AT_ONCE = 1024


def predicted_on_spark(
    spark: Any,
    files: Mapping[str, Path],
    load: Callable[[Mapping[str, Path]], Diagnoser],
    work: Work,
    parts: Iterable[Part],
    bar: tqdm[Any],
) -> Iterator[Tally]:
    """Predict the parts that are not finished; yields what became of each, finished or not.

    Args:
        spark: the session.
        files: kind -> file of everything that `load` reads.
        load: loads the models from such files, which have other folders there.
        work: with tables among what is written.
        parts: of the listing.
        bar: counts images.

    Raises:
        OSError: if a task failed; finished parts are kept.
    """
    context = spark.sparkContext
    contents = {kind: (path.name, path.read_bytes()) for kind, path in files.items()}
    digest = hashlib.sha256(b"".join(data for _, data in contents.values())).hexdigest()[:16]
    models, counter = context.broadcast(contents), context.accumulator(0)
    del contents

    def task(part: Part) -> Tally:
        tally = done_part(part, work, lambda: load(_placed(models.value, digest)), digest)
        counter.add(len(part.tasks))
        return tally

    waiting = iter(parts)
    while wave := list(islice(waiting, _PARTS_AT_ONCE)):
        job = context.parallelize(wave, len(wave)).map(task)
        kept = "finished parts are kept; run the same command again"
        yield from collected(context, job, lambda: bar.update(counter.value - bar.n), kept)


def done_part(part: Part, work: Work, load: Callable[[], Diagnoser], key: str) -> Tally:
    """Do a part here, unless it is finished."""
    tally = Tally()
    parts = OpenParts([part], work, tally.add)
    if tasks := list(parts.tasks()):
        for outcome in in_turn(loaded(key, load), work, iter(tasks)):
            tally.add(outcome)
            parts.take(outcome)
    return tally


def _placed(contents: Mapping[str, tuple[str, bytes]], digest: str) -> dict[str, Path]:
    """The files of the models in this executor's folder, which goes with it.

    The INT8 weights of a gate are looked for beside it; of detectors several have one name.
    """
    from pyspark import SparkFiles

    folder = Path(SparkFiles.getRootDirectory()) / f"cxrloc-{digest}"
    placed = {}
    for kind, (name, data) in contents.items():
        path = folder / (kind if kind.startswith("maskrcnn") else "gate") / name
        if not (path.is_file() and os.path.getsize(path) == len(data)):
            with whole_file(path) as temporary:
                temporary.write_bytes(data)
        placed[kind] = path
    return placed
