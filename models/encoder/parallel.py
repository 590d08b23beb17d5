"""Training on several processes: each takes its share of every batch, and all make the same step.

`torchrun --nproc-per-node 2 -m freshet pretrain ...` starts them, each with a GPU of its own where there are GPUs.
Tensors travel by gloo, from processors and GPUs alike.
All draw the same batches by the seed. Each makes the gradient of its own sequences, and the mean of the gradients,
weighted by targets, is that of the whole batch: the same bits in every process, so the weights stay equal.

Negatives out of the batch are those of the whole batch, however many share it; with a share's own only, more
processes would mean fewer negatives and another loss. Items that are negatives (MSNIP) each process adapts for
itself, as all know the whole batch; states of sequences that are (CMCL) are gathered, and the gradient reaches those of
each process's own. What is drawn is drawn for the whole batch, but for dropout, which each process draws apart.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

import torch
from torch import Tensor, distributed, nn

from models.encoder.batches import Batch

PATIENCE_S = 1_800.0  # with a process that hangs: the others wait while the first one judges
AHEAD_S = 7 * 86_400.0  # with what the first one does ahead of the others: it encodes the whole catalogue
LEAVING_S = 1.0  # longest wait for the others at the end
VARIABLES = frozenset({"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"})  # torchrun's


class ParallelError(RuntimeError):
    """The processes cannot go on together: one was lost, or they did not start from the same."""


@dataclass(frozen=True)
class Processes:
    """Those that train one model, as one of them sees it.

    Args:
        rank: Of this one, from 0; the first one writes and prints.
        size: How many there are.
        patient: The same processes, who wait far longer for one another; None where there is one.
    """

    rank: int = 0
    size: int = 1
    patient: distributed.ProcessGroup | None = None

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0

    def share(self, batch: Batch) -> Batch:
        """This process's sequences of `batch`; all of it where there is not a target for each process."""
        shares = [slice(rank, None, self.size) for rank in range(self.size)]
        if self.size == 1 or not all(bool(batch.is_target[own].any()) for own in shares):
            return batch
        return batch.share(shares[self.rank])

    def gather(self, states: Tensor, batch: Batch) -> Tensor:
        """States of all sequences of the whole batch.

        What is made of them must be the same in every process and enter its loss as it is: then the mean of
        `average` is its gradient, though in each process it reaches that one's states alone.

        Args:
            states: (b, D), one of each sequence of `batch`.
            batch: This process's share.

        Returns:
            (B, D).

        Raises:
            ParallelError: a process is lost.
        """
        whole = batch.whole
        if whole is batch:
            return states
        gathered = states.new_zeros(len(whole.rows), states.shape[1])
        gathered[batch.own] = states.detach()
        _add_up(gathered)
        own = states.clone()
        if own.requires_grad:
            part = float(batch.is_target.sum() / whole.is_target.sum())
            own.register_hook(lambda gradient: gradient / part)  # type: ignore[no-untyped-call] # undone by the mean
        gathered[batch.own] = own
        return gathered

    def average(self, parameters: Sequence[nn.Parameter], loss: Tensor, batch: Batch) -> float:
        """Replace the gradients by those of the whole batch.

        Args:
            parameters: With this process's gradients; where no process has one, there is none.
            loss: Mean over the targets of this process's share.
            batch: This process's share.

        Returns:
            The loss of the whole batch.

        Raises:
            ParallelError: a process is lost.
        """
        value = loss.detach()
        if self.size == 1:
            return float(value)
        flat = [torch.zeros_like(one).flatten() if one.grad is None else one.grad.flatten() for one in parameters]
        is_there = value.new_tensor([one.grad is not None for one in parameters])
        n_targets = batch.is_target.sum().to(value.dtype)
        summed = torch.cat([*flat, is_there, value.view(1), value.new_ones(1)]) * n_targets
        _add_up(summed)
        sizes = [*(len(one) for one in flat), len(flat), 1, 1]
        *means, is_there, loss, _ = torch.split(summed / summed[-1], sizes)
        for one, mean, there in zip(parameters, means, is_there.tolist(), strict=True):
            one.grad = mean.view_as(one).clone() if there else None
        return float(loss)

    def check_same(self, digest: int) -> None:
        """Compare what all start from.

        Raises:
            ParallelError: `digest` is another in some process, or a process is lost.
        """
        digests = torch.zeros(self.size, dtype=torch.int64)
        digests[self.rank] = digest
        _add_up(digests)
        others = [rank for rank, found in enumerate(digests.tolist()) if found != digests[0]]
        if others:
            raise ParallelError(
                f"processes {others} of {self.size} start from other data, settings, weights or checkpoint than "
                "process 0; give all of them the same arguments and files"
            )

    def first_says(self, asked: Callable[[], float]) -> float:
        """A number that the first process finds out, in all of them.

        Raises:
            ParallelError: a process is lost.
        """
        if self.size == 1:
            return asked()
        answer = torch.tensor([asked() if self.is_first else 0.0], dtype=torch.float64)
        _add_up(answer)
        return float(answer)

    @contextlib.contextmanager
    def first(self) -> Iterator[None]:
        """The first process does the block, then the others, which find what it left on disk.

        Raises:
            ParallelError: a process is lost.
        """
        if not self.is_first:
            self._wait()
        yield
        if self.is_first:
            self._wait()

    def _wait(self) -> None:
        if self.size > 1:
            _add_up(torch.zeros(1), self.patient)


ALONE = Processes()


@contextlib.contextmanager
def joined(patience_s: float = PATIENCE_S) -> Iterator[Processes]:
    """The processes that torchrun started, or this one alone; one that ends with an error ends the others.

    Args:
        patience_s: Longest wait for another process, but for what the first does ahead of the others. One that died is
            noticed at once.

    Raises:
        ParallelError: the others cannot be reached.
    """
    if not os.environ.keys() >= VARIABLES or os.environ["WORLD_SIZE"] == "1":
        yield ALONE
        return
    try:
        distributed.init_process_group("gloo", timeout=timedelta(seconds=patience_s))
    except (RuntimeError, ValueError) as exc:
        raise ParallelError(f"cannot reach the other processes of this training: {str(exc)[:300]}") from exc
    try:
        patient = cast(distributed.ProcessGroup, distributed.new_group(timeout=timedelta(seconds=AHEAD_S)))
        yield Processes(distributed.get_rank(), distributed.get_world_size(), patient)
    finally:
        # all leave together where they can: gloo aborts a process whose peer closes while a connection is still set up
        with contextlib.suppress(RuntimeError):
            distributed.monitored_barrier(timeout=timedelta(seconds=LEAVING_S))
        distributed.destroy_process_group()


def _add_up(values: Tensor, group: distributed.ProcessGroup | None = None) -> None:
    """Sum `values` over all processes in place, to the same bits in each."""
    try:
        distributed.all_reduce(values, group=group)
    except RuntimeError as exc:
        raise ParallelError(
            f"another process of this training is lost; start all again, they go on after the last checkpoint "
            f"({str(exc)[:200]})"
        ) from exc
