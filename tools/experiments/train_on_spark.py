"""Train the gate on a Spark cluster, through PySpark's TorchDistributor.

    python tools/experiments/train_on_spark.py --config configs/nih/classifier.yaml \\
        --num_processes 4
        [--local false] [--master local[*]] [--gpu false]

The same training as tools/train_classifier.py, with the same options, in `num_processes` processes:
one Spark task each, or, with --local true, all on the driver's machine. A run that was killed goes
on with the same command, or with train_classifier.py. A Spark session that is there (Databricks) is
used as it is. The executors need this package, and the same paths for data, weights and --out.
Research use only, never a diagnosis.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads cost 5 x

from cxrloc.classification.config import ClassifierConfig
from cxrloc.configs.command_line import load_config, run_tool
from cxrloc.datasets.shards.spark import spark_session


@dataclass(frozen=True)
class SparkTrainingConfig(ClassifierConfig):
    """A classifier run, and where on Spark its processes are.

    Attributes:
        num_processes: that train together; train.batch_size must be a multiple.
        local: on the driver's machine; else each in a Spark task, all at the same time.
        master: of Spark: local[*], spark://host:7077, yarn, ...; a session that is there is used.
        gpu: a GPU for each process, that Spark hands out (spark.task.resource.gpu.amount, with
            local spark.driver.resource.gpu.amount).
    """

    num_processes: int = 2
    local: bool = False
    master: str = "local[*]"
    gpu: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_processes < 1:
            raise ValueError(f"num_processes: got {self.num_processes}, expected at least 1")


def train_on_spark(config: SparkTrainingConfig) -> Path:
    """Train with Spark's processes; returns the run folder.

    Raises:
        ValueError: for settings that do not work, or without PySpark or Java.
        OSError: if the training failed; finished folds stay.
    """
    from cxrloc.classification.runs.train import run_classifier
    from cxrloc.classification.training.distributed import Member

    Member(0, config.num_processes).images_per_step(config.train.batch_size)
    run = _with_whole_paths(config)
    with spark_session(config.master, "cxrloc training"):
        from pyspark.errors import PySparkException
        from pyspark.ml.torch.distributor import TorchDistributor

        distributor = TorchDistributor(config.num_processes, config.local, config.gpu)
        try:
            distributor.run(run_classifier, run)
        except (RuntimeError, PySparkException) as error:
            raise OSError(f"the training failed: {_reason(error)}") from error
    return Path(run.out)


def _with_whole_paths(config: SparkTrainingConfig) -> ClassifierConfig:
    """Only the run; tasks work in other folders."""
    data, model = config.data, config.model
    data = replace(
        data,
        prepared=_whole(data.prepared),
        shards=data.shards if "://" in data.shards else _whole(data.shards),
        cache=_whole(data.cache),
    )
    if Path(model.weights).is_file():
        model = replace(model, weights=_whole(model.weights))
    return ClassifierConfig(_whole(config.out), data, model, config.train, config.sensitivity)


def _whole(path: str) -> str:
    return str(Path(path).absolute()) if path else path


def _reason(error: Exception) -> str:
    """The last error that a process names, out of all that it printed."""
    lines = [line.strip() for line in str(error).splitlines() if "Error: " in line]
    return lines[-1] if lines else str(error)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool(
        "train_on_spark", lambda: _train(load_config(SparkTrainingConfig, argv, __doc__))
    )


def _train(config: SparkTrainingConfig) -> None:
    train_on_spark(config)


if __name__ == "__main__":
    raise SystemExit(main())
