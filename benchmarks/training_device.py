"""What training does on a CUDA device: pace, the device's peak memory, and the share of the device's peak it reaches.

The share counts the model's own products from its shapes, forward and backward, over real positions
alone: nothing for padding, softmaxes or norms. It is a share of the published dense
bfloat16 peak whatever the precision, so that the rows can be compared. With bfloat16, products are made under autocast
and those left in float32 may use TF32; float32 is that alone.

Not run on a device yet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor

from models.encoder.batches import Batch
from models.encoder.config import Shape
from models.encoder.loop import TrainingLoop
from models.encoder.training import Trainer

PEAK_TFLOPS = {
    "NVIDIA H200": 989.0,  # data sheet of the H200 Tensor Core GPU: 1,979 with sparsity, half of it without
    "NVIDIA H100 80GB HBM3": 989.0,  # data sheet of the H100, SXM: 1,979 with sparsity
    "NVIDIA H100 PCIe": 756.0,  # the same, PCIe: 1,513 with sparsity
    "NVIDIA A100": 312.0,  # data sheet of the A100, dense; the name goes on with form and memory
}
"""Dense bfloat16 peaks as the maker publishes them, by the beginning of the device's name."""

PRECISIONS = ("bfloat16", "float32")
VARIANTS = tuple(product(PRECISIONS, (False, True)))
"""Precision, and whether the encoder is compiled."""

SKIPPED = "skipped: torch.cuda.is_available() is false, so nothing was measured on a device"
POOL_HIDDEN = 64
BYTES_PER_MIB = 2**20
TRAINED = 3  # a forward pass, and backward twice as much: towards what came in, and towards the weights


def peak_tflops(name: str, asked: float | None) -> float | None:
    """The peak to compare with: the one asked for, else the published one; None for a device that is not listed."""
    if asked is not None:
        return asked
    return next((peak for start, peak in PEAK_TFLOPS.items() if name.startswith(start)), None)


@dataclass(frozen=True)
class Work:
    """What one training step works on.

    Attributes:
        lengths: real positions of each sequence.
        n_targets: predicted positions.
        n_candidates: items each of them is held against.
        n_items: items whose content is encoded; 0 for a model of IDs.
        n_text_parts: parts of text of those.
        n_image_parts: parts of pictures.
    """

    lengths: tuple[int, ...]
    n_targets: int
    n_candidates: int
    n_items: int = 0
    n_text_parts: int = 0
    n_image_parts: int = 0


def step_flops(shape: Shape, work: Work, *, widths: tuple[int, int] = (0, 0)) -> float:
    """Floating-point operations of the products of one step, forward and backward.

    Args:
        shape: of the encoder.
        work: of the step.
        widths: of a text part and of an image part; M2SE has two streams, a model of IDs one.
    """
    streams = 2 if work.n_items else 1
    n = sum(work.lengths)
    pairs = sum(length * (length + 1) for length in work.lengths) / 2  # what a causal position looks at
    block = n * (8 * shape.dim**2 + 4 * shape.dim * shape.inner_dim) + 4 * pairs * shape.dim
    scores = 2 * work.n_targets * work.n_candidates * shape.dim
    flops = TRAINED * streams * (shape.n_layers * block + scores)
    for width, n_parts in zip(widths, (work.n_text_parts, work.n_image_parts), strict=True):
        mixed = work.n_items * 2 * shape.n_experts * (width * (shape.dim + 1) + shape.dim)  # experts, gate, mixture
        flops += TRAINED * (mixed + n_parts * 2 * POOL_HIDDEN)  # and the score of a part
        flops += (TRAINED - 1) * n_parts * 2 * width * (POOL_HIDDEN + 1)  # hidden, weighted sum: parts do not learn
    return flops


class CountedLoss:
    """A phase's loss that adds up what it works on, while it is told to, and makes its products in a precision.

    Args:
        loop: whose phase it is.
        loss: of the phase.
        precision: one of `PRECISIONS`.
    """

    def __init__(self, loop: TrainingLoop, loss: Callable[[Batch, torch.Generator], Tensor], precision: str) -> None:
        self.is_counting = True
        self.flops = 0.0
        self._loop, self._loss = loop, loss
        self._is_narrow = precision == "bfloat16"

    def __call__(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The loss of a batch."""
        if self.is_counting:
            self.flops += _flops(self._loop, batch)
        with torch.autocast(batch.rows.device.type, torch.bfloat16, enabled=self._is_narrow):
            return self._loss(batch, generator)


def prepare(loop: TrainingLoop, *, precision: str, is_compiled: bool) -> CountedLoss:
    """Make the loop's only phase with epochs train in a precision, compiled or not."""
    torch.set_float32_matmul_precision("high" if precision == "bfloat16" else "highest")
    (phase,) = (phase for phase in loop.phases if phase.n_epochs)
    counted = CountedLoss(loop, phase.loss, precision)
    loop.phases = tuple(replace(one, loss=counted) if one is phase else one for one in loop.phases)
    if is_compiled:
        for name, module in loop.model.named_modules():
            if name == "sequence" or name.endswith(".adaptor"):
                module.compile(dynamic=True)
    return counted


def shares(found: dict[str, Any], counted: CountedLoss, *, asked_tflops: float | None) -> dict[str, Any]:
    """A result with what the device has to do with it.

    Args:
        found: of `benchmarks.training.summary`.
        counted: over the first epoch.
        asked_tflops: peak to compare with, if it is not to be looked up.
    """
    name = torch.cuda.get_device_name()
    peak = peak_tflops(name, asked_tflops)
    n_targets = found["epochs"][0][0]
    tflops = counted.flops / n_targets * found["targets_per_s"] / 1e12
    return found | {
        "device": name,
        "peak_device_memory_mib": round(torch.cuda.max_memory_allocated() / BYTES_PER_MIB),
        "model_flops_per_target": round(counted.flops / n_targets),
        "model_tflops": round(tflops, 3),
        "peak_tflops_bfloat16": peak,
        "share_of_peak": None if peak is None else round(tflops / peak, 5),
    }


def _flops(loop: TrainingLoop, batch: Batch) -> float:
    lengths, n_targets = tuple(batch.lengths.tolist()), int(batch.is_target.sum())
    if not isinstance(loop, Trainer):
        return step_flops(
            Shape(), Work(lengths, n_targets, n_candidates=len(loop.model.get_parameter("items.vectors")))
        )
    content = loop.content
    needed = torch.arange(len(content))
    n_candidates = len(content)
    if loop.config.pretrain_epochs:
        targets = torch.unique(batch.targets[batch.is_target]).cpu()
        needed, n_candidates = torch.unique(torch.cat([batch.rows.flatten().cpu(), targets])), len(targets)
    work = Work(
        lengths,
        n_targets,
        n_candidates,
        n_items=len(needed),
        n_text_parts=int(content.text_mask[needed].sum()),
        n_image_parts=int(content.image_mask[needed].sum()),
    )
    config = loop.model.config
    return step_flops(config, work, widths=(config.text_dim, config.image_dim))
