"""Losses of a softmax over many items, fused: gradients are made with the loss, a few rows of scores at a time.

The scores of a batch, (M, N), never exist as a whole: a chunk that fits the processor's cache is multiplied, turned
into probabilities and into its share of both gradients, and overwritten by the next. The idea is Liger Kernel's fused
linear cross-entropy (Hsu et al., arXiv 2410.10989), here on CPUs too.
"""

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_SCORES = 2**21  # numbers in one chunk; twice 8 MiB stay in a processor's cache
CHUNK_SCORES_GPU = 2**27  # fewer, larger products
NARROW_STEP = 128  # rows and items of narrow products are multiples: oneDNN keeps a kernel for each shape it meets


def softmax_loss(states: Tensor, items: Tensor, targets: Tensor, *, log_inclusion: Tensor | None = None) -> Tensor:
    """Cross-entropy of the softmax over `states @ items.T`, its gradient reaching both.

    The loss is as exact as the arguments. Where the processor multiplies bfloat16 faster, the probabilities of float32
    arguments enter the products of the gradients in it, after 1 was taken from the target's.

    Args:
        states: (M, D).
        items: (N, D).
        targets: (M,) int64, a row of `items` each.
        log_inclusion: (N,), where the items are a sample: taken off their scores as negatives (`sampling.py`).

    Returns:
        Scalar, mean over rows.
    """

    def errors(scores: Tensor, rows: slice, shares: Tensor, losses: Tensor) -> Tensor:
        if log_inclusion is not None:
            _correct(scores, targets[rows], log_inclusion)
        return _errors(scores, targets[rows], shares=shares, losses=losses)

    loss: Tensor = _FusedLoss.apply(states, items, errors)
    return loss


def divergence_loss(
    states: Tensor, items: Tensor, teacher: tuple[Tensor, Tensor], *, log_inclusion: Tensor | None = None
) -> Tensor:
    """KL divergence from a teacher's softmax over the items to that of `states @ items.T`, whose gradient it is.

    Args:
        states: (M, D).
        items: (N, D).
        teacher: (M, E) and (N, E), whose product is the teacher's scores; they get no gradient.
        log_inclusion: (N,), where the items are a sample: taken off both models' scores (`sampling.py`).

    Returns:
        Scalar, mean over rows.
    """
    teacher_states, teacher_items = teacher

    def errors(scores: Tensor, rows: slice, shares: Tensor, losses: Tensor) -> Tensor:
        wanted = torch.mm(teacher_states[rows], teacher_items.T, out=shares[: len(scores)])
        if log_inclusion is not None:
            scores, wanted = scores.sub_(log_inclusion), wanted.sub_(log_inclusion)
        own, wanted = scores.log_softmax(-1), wanted.log_softmax(-1)
        torch.sum(wanted.exp() * (wanted - own), -1, out=losses)
        return own.exp_().sub_(wanted.exp_())

    loss: Tensor = _FusedLoss.apply(states, items, errors)
    return loss


class _Errors(Protocol):
    def __call__(self, scores: Tensor, rows: slice, shares: Tensor, losses: Tensor) -> Tensor:
        """Gradient (m, N) of a chunk's losses by its scores; what is in `scores` and `shares` may be overwritten.

        Args:
            scores: (m, N), `states[rows] @ items.T`.
            rows: The chunk's.
            shares: (>= m, N), room.
            losses: (m,), to be filled.
        """
        ...


class _FusedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's
        states: Tensor,
        items: Tensor,
        errors_of: _Errors,
    ) -> Tensor:
        narrow = gradient_dtype(states)
        to_states, to_items = torch.empty_like(states), torch.zeros_like(items)
        losses = states.new_empty(len(states))
        n_scores = CHUNK_SCORES if states.device.type == "cpu" else CHUNK_SCORES_GPU
        n_rows = max(1, n_scores // _stepped(len(items)))
        n_rows = min(n_rows - n_rows % NARROW_STEP or n_rows, len(states))
        scores, shares = (states.new_empty(n_rows, len(items)) for _ in range(2))
        narrow_items = _narrowed(items, narrow, n_columns=items.shape[1])
        for begin in range(0, len(states), n_rows):
            rows = slice(begin, begin + n_rows)
            whole = scores[: len(states[rows])]
            torch.mm(states[rows], items.T, out=whole)
            errors = errors_of(whole, rows, shares, losses[rows])
            narrow_states = _narrowed(states[rows], narrow, n_columns=states.shape[1])
            errors = _narrowed(errors, narrow, n_columns=len(narrow_items))
            to_states[rows] = (errors @ narrow_items)[: len(states[rows])]
            to_items += (errors.T @ narrow_states)[: len(items)]
        ctx.save_for_backward(to_states.div_(len(states)), to_items.div_(len(states)))
        return losses.mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN401 - torch's
        to_states, to_items = ctx.saved_tensors
        return to_states * gradient, to_items * gradient, None


def _correct(scores: Tensor, targets: Tensor, log_inclusion: Tensor) -> None:
    """Take it off the scores (m, N) of all but each row's target, which is always there."""
    scores.sub_(log_inclusion)
    scores.scatter_add_(1, targets[:, None], log_inclusion[targets][:, None])


def _errors(scores: Tensor, targets: Tensor, *, shares: Tensor, losses: Tensor) -> Tensor:
    """Softmax of scores (m, N) less the target's 1, in `shares` (>= m, N); fills `losses` (m,)."""
    shares, at = shares[: len(scores)], targets[:, None]
    torch.softmax(scores, -1, out=shares)
    log_total = scores.amax(-1) - shares.amax(-1).log()  # of exp(scores): the largest share is exp(largest) / total
    torch.sub(log_total, scores.gather(1, at).squeeze(1), out=losses)
    return shares.scatter_add_(1, at, shares.new_full((len(scores), 1), -1.0))


def _narrowed(matrix: Tensor, dtype: torch.dtype, *, n_columns: int) -> Tensor:
    """`matrix` in a narrower type, filled up with zeros; as it is where its type is that already."""
    if matrix.dtype == dtype:
        return matrix
    n, m = matrix.shape
    filled = matrix.new_zeros(_stepped(n), n_columns, dtype=dtype)
    filled[:n, :m] = matrix
    return filled


def _stepped(n: int) -> int:
    return -(-n // NARROW_STEP) * NARROW_STEP


def gradient_dtype(states: Tensor) -> torch.dtype:
    """What products for gradients are made in: bfloat16 for float32 on a processor that multiplies it faster."""
    narrow = states.dtype == torch.float32 and states.device.type == "cpu" and _multiplies_bfloat16()
    return torch.bfloat16 if narrow else states.dtype


def _multiplies_bfloat16() -> bool:
    if not hasattr(torch.cpu, "get_capabilities"):  # an older torch
        return False
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
