"""What M2SE learns from.

MP4SR's two contrastive objectives (arXiv 2303.11879, section 4.3), the next-item softmax of fine-tuning (section 4.4),
and distillation from the previous model of a continual cycle.

`M` is the number of predicted positions in a batch, `U` its distinct targets. A target enters a denominator once,
however often it occurs, so a pair with the same target is never its own negative.
"""

import torch
from torch import Tensor
from torch.nn import functional

from models.encoder.softmax import divergence_loss, softmax_loss


def msnip(
    states: Tensor, items: Tensor, targets: Tensor, *, temperature: float, log_inclusion: Tensor | None = None
) -> Tensor:
    """Modality-specific next-item prediction: InfoNCE of each stream against its own modality (equation 9).

    Args:
        states: (M, 2D), text and image state side by side, each of length 1.
        items: (U, 2D), text and image vector of the batch's distinct targets, each of length 1.
        targets: (M,) int64, row of `items` that came next.
        temperature: 0.07 in the paper.
        log_inclusion: (U,) logarithm of the chance that a batch holds each item, taken off it as a negative; None in
            the paper, which so holds popular items down.

    Returns:
        Scalar, text term plus image term.
    """
    state_text, state_image = states.chunk(2, dim=-1)
    item_text, item_image = items.chunk(2, dim=-1)
    text = softmax_loss(state_text, item_text / temperature, targets, log_inclusion=log_inclusion)
    image = softmax_loss(state_image, item_image / temperature, targets, log_inclusion=log_inclusion)
    return text + image


def cmcl(states: Tensor, targets: Tensor, *, temperature: float) -> Tensor:
    """Cross-modality contrastive learning between the two streams of one sequence, symmetric (equation 10).

    Negatives are the other sequences in both streams; those with the same target are left out of the denominator.

    Args:
        states: (B, 2D), one position of each sequence, text and image state side by side, each of length 1.
        targets: (B,) int64, what came next there.
        temperature: 0.07 in the paper.

    Returns:
        Scalar, mean over both directions.
    """
    text, image = states.chunk(2, dim=-1)
    both = torch.cat([text, image])  # (2B, D)
    n = len(targets)
    same_target = (targets[:, None] == targets[None, :]).repeat(2, 2)  # (2B, 2B)
    partner = torch.arange(2 * n, device=targets.device).roll(n)  # text i <-> image i
    excluded = same_target.scatter(1, partner[:, None], value=0)  # the positive pair stays in
    scores = (both @ both.T / temperature).masked_fill(excluded, float("-inf"))
    return functional.cross_entropy(scores, partner)


def next_item(
    states: Tensor, items: Tensor, targets: Tensor, *, temperature: float, log_inclusion: Tensor | None = None
) -> Tensor:
    """Softmax cross-entropy over the whole catalogue on the sum of both streams' cosines (equation 12).

    Args:
        states: (M, 2D).
        items: (N, 2D), every item of the catalogue, or a sample with the targets.
        targets: (M,) int64, row of `items` that came next.
        temperature: 0.07 in the paper.
        log_inclusion: (N,) of a sample (`sampling.py`); None for the whole catalogue.

    Returns:
        Scalar, mean over positions.
    """
    return softmax_loss(states, items / temperature, targets, log_inclusion=log_inclusion)


def distillation(
    states: Tensor,
    items: Tensor,
    teacher: tuple[Tensor, Tensor],
    *,
    temperature: float,
    log_inclusion: Tensor | None = None,
) -> Tensor:
    """KL divergence from the previous model's distribution over the items it knew to that of the model that learns.

    Hinton et al. 2015 (arXiv 1503.02531), section 2, with soft targets alone and each model at its own temperature.

    Args:
        states: (M, 2D) of the model that learns.
        items: (N, 2D) of the model that learns, N at least the teacher's.
        teacher: (M, E) states and (N_t, E) items of the previous model, whose product is its scores, its own
            temperature applied.
        temperature: Of the model that learns.
        log_inclusion: (N_t,), where the items are a sample: taken off both models' scores (`sampling.py`).

    Returns:
        Scalar, mean over positions.
    """
    known = items[: len(teacher[1])] / temperature
    return divergence_loss(states, known, teacher, log_inclusion=log_inclusion)
