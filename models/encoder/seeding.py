"""Random numbers of an epoch: from its seed alone, so that a resumed training draws what an uninterrupted one does."""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def seeded(seed: list[int], rank: int, device: torch.device) -> Iterator[torch.Generator]:
    """Seed torch's randomness (dropout, by process) for the block, give a generator for ours, put everything back."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(_number([*seed, rank] if rank else seed))
        yield torch.Generator().manual_seed(_number(seed))


def _number(seed: list[int]) -> int:
    return int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1)
