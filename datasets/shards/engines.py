"""Run the tasks of an ETL: in local processes or on a Spark cluster.

Both only call `make_shards` for each plan, so the shards are identical wherever pyarrow and OpenCV
have the same versions. A Spark cluster needs this package on its executors; images and shards must
be at paths or URLs that every executor can open.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from cxrloc.datasets.files.runs.workers import worker_pool
from cxrloc.datasets.files.storage import Storage
from cxrloc.datasets.progress import progress
from cxrloc.datasets.shards.format import REJECTS, SCHEMA_VERSION, manifest_name
from cxrloc.datasets.shards.plan import ShardPlan
from cxrloc.datasets.shards.spark import collected, spark_session
from cxrloc.datasets.shards.write import ShardRecord, make_shards

_REJECT_COLUMNS = ("image_id", "path", "reason")
_GO_ON = "finished shards are kept; run the same command again"

Engine = Callable[[Sequence[ShardPlan]], list[ShardRecord]]


def build_shards(
    plans: Sequence[ShardPlan], engine: Engine, run: Callable[[], Mapping[str, Any]]
) -> list[ShardRecord]:
    """Make all unfinished shards, then rejects.parquet, then the manifest of each size.

    Args:
        plans: all results of `plan_shards`.
        engine: runs the plans: `local_engine(...)` or `spark_engine(...)`.
        run: called at the end to get the run's manifest.

    Raises:
        ValueError: if the folder was started with other images or settings.
        OSError: if a task failed; finished shards are kept.
    """
    storage = Storage.at(plans[0].out)
    digest = hashlib.sha256("\n".join(plan.known() for plan in plans).encode()).hexdigest()
    for size in plans[0].sizes:
        _claim(storage, size, plans, digest)
    made = sorted(engine(plans), key=lambda record: record.name)
    rejects = sorted({reject for record in made for reject in record.rejects})
    columns = {name: [row[i] for row in rejects] for i, name in enumerate(_REJECT_COLUMNS)}
    with storage.whole_file(REJECTS) as stream:
        schema = pa.schema([(name, pa.string()) for name in _REJECT_COLUMNS])
        pq.write_table(pa.table(columns, schema=schema), stream)
    for size in plans[0].sizes:
        of_size = [record for record in made if record.name.startswith(f"size={size}/")]
        about = {**asdict(plans[0].kind(size)), **_contents(of_size), "run": dict(run())}
        storage.write_json(manifest_name(size), about)
    return made


def local_engine(workers: int | None = None) -> Engine:
    """Run in local processes, None means one per core; 1 runs in this process."""

    def run(plans: Sequence[ShardPlan]) -> list[ShardRecord]:
        count = min(workers or os.cpu_count() or 1, len(plans))
        with _bar(plans) as bar:
            if count == 1:
                return [record for plan in plans for record in _noted(bar, plan)]
            with worker_pool(count) as pool:
                return _gather({pool.submit(make_shards, plan): plan for plan in plans}, bar)

    return run


def spark_engine(master: str = "local[*]") -> Engine:
    """Run as tasks on a Spark cluster, in the active session if there is one (Databricks).

    Raises:
        ValueError: without PySpark or Java.
    """

    def run(plans: Sequence[ShardPlan]) -> list[ShardRecord]:
        name = "cxrloc shards"
        with spark_session(master, name) as spark, _bar(plans) as bar:
            context = spark.sparkContext
            images = context.accumulator(0)

            def task(plan: ShardPlan) -> list[ShardRecord]:
                records = make_shards(plan)
                images.add(len(plan.radiographs))
                return records

            job = context.parallelize(plans, len(plans)).flatMap(task)
            return collected(context, job, lambda: bar.update(images.value - bar.n), _GO_ON)

    return run


def _claim(storage: Storage, size: int, plans: Sequence[ShardPlan], digest: str) -> None:
    """Record the sources and settings of a size, or compare them with the recorded ones.

    Args:
        digest: hash of the images of all plans.
    """
    claim = {
        **asdict(plans[0].kind(size)),
        "schema_version": SCHEMA_VERSION,
        "diseases": list(plans[0].diseases),
        "splits": sorted({plan.split for plan in plans}),
        "shards": len(plans),
        "images": digest,
    }
    name = f"size={size}/_settings.json"
    recorded = storage.read_json(name) if storage.exists(name) else claim
    if not isinstance(recorded, dict):
        raise ValueError(f"{storage.url}/{name} holds no settings; delete the folder {storage.url}")
    different = [key for key in claim if claim[key] != recorded.get(key)]
    if different:
        changes = ", ".join(f"{k} was {recorded.get(k)!r}, now {claim[k]!r}" for k in different)
        raise ValueError(
            f"{storage.url}/size={size} was started with other settings ({changes}); "
            "use another out folder, or delete this one"
        )
    storage.remove_temporaries(f"size={size}")
    if storage.exists(manifest_name(size)):  # without a manifest the size is unfinished
        storage.delete(manifest_name(size))
    storage.write_json(name, claim)


def _contents(made: Sequence[ShardRecord]) -> dict[str, Any]:
    names = ("name", "rows", "bytes", "sha256")
    return {
        "schema_version": SCHEMA_VERSION,
        "rows": sum(record.rows for record in made),
        "rejected": sum(len(record.rejects) for record in made),
        "shards": [{name: getattr(record, name) for name in names} for record in made],
    }


def _bar(plans: Sequence[ShardPlan]) -> tqdm[Any]:
    images = sum(len(plan.radiographs) for plan in plans)
    return progress(None, "images to shards", images)


def _noted(bar: tqdm[Any], plan: ShardPlan) -> list[ShardRecord]:
    records = make_shards(plan)
    bar.update(len(plan.radiographs))
    return records


def _gather(
    futures: Mapping[Future[list[ShardRecord]], ShardPlan], bar: tqdm[Any]
) -> list[ShardRecord]:
    records = []
    try:
        for future in as_completed(futures):
            records += future.result()
            bar.update(len(futures[future].radiographs))
    except BrokenProcessPool as error:
        raise OSError(f"a worker process died (out of memory?); {_GO_ON}") from error
    return records
