r"""Train the gate on a Spark cluster, through PySpark's TorchDistributor.

    cxrloc train-on-spark --config configs/nih/classifier.yaml --processes 4
    cxrloc train-on-spark --config configs/nih/classifier.yaml --processes 8 \
        --gpu --master spark://host:7077

This is the training of `cxrloc train-gate`, with the same settings, in several processes: one Spark
task each or, with --local, all on the driver's machine. The same command resumes a run that was
killed, and so does `cxrloc train-gate`. An existing Spark session (Databricks) is used as it is.
The executors need this package, and the same paths for data, weights and --out. Research use only,
never a diagnosis.
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
        processes: how many train together; train.batch_size must be a multiple of it.
        local: run all processes on the driver's machine, not each in a Spark task of its own.
        master: Spark's master: local[*], spark://host:7077, yarn, ... An existing session is used
            as it is.
        gpu: give each process a GPU, assigned by Spark (spark.task.resource.gpu.amount; with
            --local, spark.driver.resource.gpu.amount).
    """

    processes: int = 2
    local: bool = False
    master: str = "local[*]"
    gpu: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.processes < 1:
            raise ValueError(f"processes: got {self.processes}, expected at least 1")


def train_on_spark(config: SparkTrainingConfig) -> Path:
    """Train with Spark's processes; returns the run folder.

    Raises:
        ValueError: for settings that do not work, or without PySpark or Java.
        OSError: if the training failed; finished folds are kept.
    """
    from cxrloc.classification.runs.train import run_classifier
    from cxrloc.classification.training.distributed import Member

    Member(0, config.processes).images_per_step(config.train.batch_size)
    run = _with_whole_paths(config)
    with spark_session(config.master, "cxrloc training"):
        from pyspark.errors import PySparkException
        from pyspark.ml.torch.distributor import TorchDistributor

        distributor = TorchDistributor(config.processes, config.local, config.gpu)
        try:
            distributor.run(run_classifier, run)
        except (RuntimeError, PySparkException) as error:
            raise OSError(f"the training failed: {_reason(error)}") from error
    return Path(run.out)


def _with_whole_paths(config: SparkTrainingConfig) -> ClassifierConfig:
    """The run alone, with absolute paths: tasks work in other folders."""
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
    """The last error in everything that the processes printed."""
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
