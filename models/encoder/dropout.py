"""Dropout that is cheap on CPUs: 16 random bits decide on each number, one pass applies them.

torch's own draws each decision with MKL, which took a tenth of a training step; its semantics (inverted dropout,
seeded by `torch.manual_seed`) stay. The share is rounded to a multiple of 2**-16, and the scale follows it.
"""

import torch
from torch import Tensor
from torch.nn import functional

LEVELS = 2**16
_PER_WORD = 4  # 16-bit numbers in one draw of 64 bits


def dropped(states: Tensor, share: float, *, is_training: bool) -> Tensor:
    """`states` (any shape) with a share of the numbers zeroed and the others scaled up; unchanged outside training."""
    if not is_training or not share:
        return states
    if states.device.type != "cpu":
        return functional.dropout(states, share)
    return states * _scales(states, share)


def add_dropped(states: Tensor, change: Tensor, share: float, *, is_training: bool) -> Tensor:
    """`states + dropped(change)`, both of one shape, in one pass."""
    if not is_training or not share or states.device.type != "cpu":
        return states + dropped(change, share, is_training=is_training)
    return torch.addcmul(states, change, _scales(change, share))


def _scales(like: Tensor, share: float) -> Tensor:
    """0 for what is dropped, 1 / (1 - share) for the rest."""
    n_dropped = min(round(share * LEVELS), LEVELS - 1)
    words = torch.empty(-(-like.numel() // _PER_WORD), dtype=torch.int64, device=like.device).random_(-(2**63), None)
    bits = words.view(torch.int16)[: like.numel()].view(like.shape)  # uniform in -LEVELS / 2 .. LEVELS / 2 - 1
    return (bits >= n_dropped - LEVELS // 2).to(like.dtype).mul_(LEVELS / (LEVELS - n_dropped))
