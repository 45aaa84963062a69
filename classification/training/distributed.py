"""Train in several processes: identify this process and exchange data.

torchrun (also called by PySpark's TorchDistributor) starts N processes of one program and gives
each a rank. `process_group` joins them; without torchrun there is one process, of rank 0. Only rank
0 writes files and prints. docs/how-to/scale_out.md has the commands and compares with one process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from cxrloc.classification.network.precision import resolve_device
from cxrloc.datasets.files.runs.locks import writes_folder

# rank 0 may decode a whole data set or draw figures while the others wait
PATIENCE = timedelta(hours=12)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Member:
    """One of the processes training together: `rank` of 0 .. `world_size` - 1."""

    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank {self.rank}, expected 0 to {self.world_size - 1}")

    def share(self, count: int) -> range:
        """This process's range of `count` images; all ranges are disjoint and in rank order."""
        begin, end = (count * r // self.world_size for r in (self.rank, self.rank + 1))
        return range(begin, end)

    def images_per_step(self, batch_size: int) -> int:
        """This process's number of images in a step of `batch_size`, equal for each process.

        Raises:
            ValueError: if they cannot be divided evenly.
        """
        if batch_size % self.world_size:
            raise ValueError(
                f"train.batch_size: got {batch_size}, expected a multiple of {self.world_size}, "
                f"since it counts the images of a step over all {self.world_size} processes"
            )
        return batch_size // self.world_size


def member() -> Member:
    """This process as a member of its group."""
    if not dist.is_initialized():
        return Member()
    return Member(dist.get_rank(), dist.get_world_size())


@contextmanager
def process_group(device: str, out: Path | None = None) -> Iterator[None]:
    """Join all processes started by torchrun for the block, and hold a run's folder.

    On GPUs, process i of a machine uses its GPU i. Output of ranks other than 0 is dropped.

    Args:
        device: the setting `train.device`.
        out: see `sole_run`.

    Raises:
        ValueError: for a device that several processes cannot share.
        OSError: if another run holds the folder.
    """
    with _joined(device), sole_run(out):
        yield


@contextmanager
def _joined(device: str) -> Iterator[None]:
    if not dist.is_torchelastic_launched() or dist.is_initialized() or _environment("WORLD") == 1:
        yield
        return
    gpu = _take_device(device)
    # GPU tensors travel by NCCL; objects and CPU tensors always by Gloo
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=PATIENCE)
    try:
        with nullcontext() if dist.get_rank() == 0 else _silence():
            yield
    finally:
        dist.destroy_process_group()


def machines() -> tuple[int, int]:
    """Processes on this machine, and the number of machines, which all have that many."""
    here = _environment("LOCAL_WORLD")
    return here, member().world_size // here


def run_on_rank_zero(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call `function` on rank 0 only and return its result on every rank; the others wait.

    Raises:
        SystemExit: on the other ranks if it failed on rank 0, which raises its own error.
    """
    if member().world_size == 1:
        return function(*arguments)
    failure: Exception | None = None
    outcome: list[Any] = [False, None]
    if member().rank == 0:
        try:
            outcome = [True, function(*arguments)]
        except Exception as error:
            failure = error
    dist.broadcast_object_list(outcome, src=0)
    if failure is not None:
        raise failure
    done, result = outcome
    if not done:
        raise SystemExit(1)  # rank 0 reports why
    return result  # type: ignore[no-any-return]


@contextmanager
def sole_run(folder: Path | None) -> Iterator[None]:
    """Hold a folder, if given, on behalf of all processes: rank 0 does.

    Raises:
        OSError: on rank 0, if another run holds it.
    """
    with ExitStack() as held:
        if folder is not None:
            run_on_rank_zero(held.enter_context, writes_folder(folder))
        yield


def gather(rows: torch.Tensor) -> torch.Tensor:
    """Concatenate the rows (N, ...) of all ranks, on every rank, in rank order.

    Args:
        rows: (n, ...) of this rank, on the CPU; n may differ between ranks and be 0.
    """
    world_size = member().world_size
    if world_size == 1:
        return rows
    parts: list[Any] = [None] * world_size
    dist.all_gather_object(parts, rows)
    return torch.cat(parts)


def mean_over_ranks(mean: torch.Tensor, known: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight a rank's mean loss over its `known` labels, or weights, for the mean over all ranks.

    DDP averages gradients over the ranks, regardless of how many labels they have. Weighting each
    rank's loss by its share of known labels makes that average the gradient of the overall mean.

    Returns:
        The loss to differentiate on this rank, and the overall mean, equal on every rank.
    """
    world_size = member().world_size
    if world_size == 1:
        return mean, mean.detach()
    sums = torch.stack([mean.detach() * known, known.to(mean)])
    dist.all_reduce(sums)
    everywhere = sums[1].clamp(min=torch.finfo(sums.dtype).tiny)
    return mean * (known * world_size / everywhere), sums[0] / everywhere


@contextmanager
def _silence() -> Iterator[None]:
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        yield


def _environment(name: str) -> int:
    return int(os.environ.get(f"{name}_SIZE", "1"))


def _take_device(device: str) -> bool:
    """Whether the processes use GPUs; if so, select the GPU with this process's number."""
    if resolve_device(device).type != "cuda":
        return False
    if device.startswith("cuda:"):
        raise ValueError(
            f"train.device: got {device!r}, expected cuda or auto: with several processes each "
            "takes the GPU with its own number"
        )
    local, here = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if local >= here:
        raise ValueError(
            f"{here} GPUs, none for process {local} of this machine; start fewer processes"
        )
    torch.cuda.set_device(local)
    return True
