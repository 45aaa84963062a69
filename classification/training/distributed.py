"""Several processes as one training: which of them this is, and what they tell each other.

torchrun (PySpark's TorchDistributor calls it too) starts N processes of one program and tells each
its rank. `process_group` joins them; without torchrun there is one process, of rank 0. Rank 0 alone
writes files and prints. docs/how-to/scale_out.md has the commands, and what is equal to one
process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from cxrloc.classification.network.precision import resolve_device

# rank 0 may decode a whole data set, or draw figures, while the others wait
PATIENCE = timedelta(hours=12)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Member:
    """One of the processes that train together: `rank` of 0 .. `world_size` - 1."""

    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank {self.rank}, expected 0 to {self.world_size - 1}")

    def share(self, count: int) -> range:
        """This process's stretch of `count` images; those of all are disjoint and in rank order."""
        begin, end = (count * r // self.world_size for r in (self.rank, self.rank + 1))
        return range(begin, end)

    def images_per_step(self, batch_size: int) -> int:
        """Of the `batch_size` images of a step, how many are this process's: the same for each.

        Raises:
            ValueError: if they do not go round evenly.
        """
        if batch_size % self.world_size:
            raise ValueError(
                f"train.batch_size: got {batch_size}, expected a multiple of {self.world_size}: it "
                f"counts the images of a step over all {self.world_size} processes"
            )
        return batch_size // self.world_size


def member() -> Member:
    """This process, within the group that it joined."""
    if not dist.is_initialized():
        return Member()
    return Member(dist.get_rank(), dist.get_world_size())


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """The group of all processes that torchrun started, while in use; nothing without torchrun.

    On GPUs, process i of a machine takes its GPU i. What a rank other than 0 prints is dropped.

    Args:
        device: the setting `train.device`.

    Raises:
        ValueError: for a device that several processes cannot have.
    """
    if not dist.is_torchelastic_launched() or dist.is_initialized() or _environment("WORLD") == 1:
        yield
        return
    gpu = _take_device(device)
    # tensors on a GPU travel by NCCL; objects and what is on the CPU always by Gloo
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=PATIENCE)
    try:
        with nullcontext() if dist.get_rank() == 0 else _silence():
            yield
    finally:
        dist.destroy_process_group()


def machines() -> tuple[int, int]:
    """Processes on this machine, and the number of machines, which have as many each."""
    here = _environment("LOCAL_WORLD")
    return here, member().world_size // here


def run_on_rank_zero(function: Callable[..., Result], *arguments: Any) -> Result:
    """What `function` returns on rank 0, on every rank; the others wait and do not call it.

    Raises:
        SystemExit: on the other ranks, if it failed on rank 0, where its own error is raised.
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
        raise SystemExit(1)  # rank 0 says why
    return result  # type: ignore[no-any-return]


def gather(rows: torch.Tensor) -> torch.Tensor:
    """(N, ...) rows of all ranks, on every rank, in the order of the ranks.

    Args:
        rows: (n, ...) on the CPU, of this rank; n may differ from rank to rank and be 0.
    """
    world_size = member().world_size
    if world_size == 1:
        return rows
    parts: list[Any] = [None] * world_size
    dist.all_gather_object(parts, rows)
    return torch.cat(parts)


def mean_over_ranks(mean: torch.Tensor, known: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A rank's mean loss over its `known` labels, weighed for the mean over those of all ranks.

    DDP averages gradients over the ranks, whatever they know. So that the average is the gradient
    of the mean over all known labels, a rank's loss is weighed by its share of them.

    Returns:
        What this rank has to differentiate, and the mean over all, the same on every rank.
    """
    world_size = member().world_size
    if world_size == 1:
        return mean, mean.detach()
    sums = torch.stack([mean.detach() * known, known.to(mean)])
    dist.all_reduce(sums)
    everywhere = sums[1].clamp(min=1)
    return mean * (known * world_size / everywhere), sums[0] / everywhere


@contextmanager
def _silence() -> Iterator[None]:
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        yield


def _environment(name: str) -> int:
    return int(os.environ.get(f"{name}_SIZE", "1"))


def _take_device(device: str) -> bool:
    """Whether the processes have GPUs; this one then uses the GPU of its number."""
    if resolve_device(device).type != "cuda":
        return False
    if device.startswith("cuda:"):
        raise ValueError(
            f"train.device: got {device!r}, expected cuda or auto: several processes were started, "
            "and each takes the GPU of its own number"
        )
    local, here = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if local >= here:
        raise ValueError(f"{here} GPUs, none for process {local} of this machine; start fewer")
    torch.cuda.set_device(local)
    return True
