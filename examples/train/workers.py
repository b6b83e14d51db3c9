"""Data-parallel training on CPU cores: single-thread processes that average their gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, multiprocessing, nn

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Worker:
    """One of the processes of a run; the default is a run of one.

    Args:
        rank: its number, from 0; worker 0 prints and saves.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    def share(self, rows: Tensor) -> Tensor:
        """The part of `rows` (N, ...) that is for this worker."""
        return rows.tensor_split(self.count)[self.rank]

    def totals(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The sum of each float32 tensor over the workers, all in one exchange."""
        if self.count == 1:
            return list(tensors)
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]

    def average_gradients(self, parameters: Iterable[nn.Parameter], number: float) -> float:
        """Replace each gradient by its mean over the workers.

        Args:
            parameters: parameters with float32 gradients, in the same order in every worker.
            number: what worker 0 tells the others; theirs is not used.

        Returns:
            The number of worker 0, rounded to float32 if there are others.
        """
        if self.count == 1:
            return number
        gradients = [weight.grad for weight in parameters if weight.grad is not None]
        told = torch.tensor(number if self.rank == 0 else 0.0)
        told, *sums = self.totals([told, *gradients])
        for gradient, total in zip(gradients, sums, strict=True):
            gradient.copy_(total).div_(self.count)
        return told.item()


def run_workers(function: Callable[..., None], count: int, *arguments: object) -> None:
    """Call `function(worker, *arguments)` in `count` processes, or in this one if `count` is 1."""
    if count == 1:
        function(Worker(), *arguments)
        return
    store = distributed.TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
    # A daemon ends with this process, so that Ctrl-C leaves no worker behind.
    multiprocessing.spawn(_work, (count, store.port, function, *arguments), count, daemon=True)


def _work(
    rank: int,
    count: int,
    port: int,
    function: Callable[..., None],
    *arguments: object,
) -> None:
    torch.set_num_threads(1)
    store = distributed.TCPStore(HOST, port, is_master=False)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=count)
    function(Worker(rank, count), *arguments)
    distributed.destroy_process_group()
