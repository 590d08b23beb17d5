"""The one training loop of every neural recommender: phases of epochs, deterministic by seed, resumable by epoch.

An epoch is trained on the process's GPU where there is one: the weights are moved there and back, and batches, which
are made on the processor, follow. Between epochs all is on the processor: scored, kept, published.

Each epoch seeds everything it draws from (seed, phase, epoch), so a run that resumes after an epoch goes on exactly
as if it had not stopped (on a GPU but for the order in which its kernels add up), and one that stops early ends where a
longer one had been. Several processes may train one model together (`parallel.py`).
"""

import contextlib
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from models.device import CPU, give_back_freed, own_device
from models.encoder.batches import Batch, SequenceData, epoch_batches
from models.encoder.config import StepConfig
from models.encoder.parallel import ALONE, Processes
from models.encoder.phases import EpochReport, Phase, Progress
from models.encoder.seeding import seeded
from models.encoder.stopping import Best, Stopping

STEPS_TO_GIVE_BACK = 25  # between two times that freed memory is given back; it takes a twentieth of a second
N_ROWS_NAMED = 5  # of a batch that made the loss no number


class TrainingDiverged(RuntimeError):
    """Loss or gradient stopped being a number; the weights and the last checkpoint are still good."""


class _NotFinite(ArithmeticError):
    """A loss or a gradient that is no number."""


class TrainingLoop:
    """Trains one model on one data set.

    Args:
        model: Changed in place.
        data: Users' histories.
        config: Of the steps, whatever the phase.
        window: Positions the model sees at most.
        phases: In their order, at least one.

    Attributes:
        stopping: Ends the last phase early; None to train all epochs. Set before the training starts or resumes.
        device: Where epochs are trained.
    """

    def __init__(
        self, model: nn.Module, data: SequenceData, config: StepConfig, *, window: int, phases: Sequence[Phase]
    ) -> None:
        self.model = model
        self.phases = tuple(phases)
        self.progress = Progress(self.phases[0].name)
        self.optimizer = self._new_optimizer(self.phases[0], config)
        self.processes = ALONE
        self.stopping: Stopping | None = None
        self.device = own_device()
        self._data = data
        self._steps = config
        self._window = window

    def join(self, processes: Processes) -> None:
        """Train as one of several processes from here on, all standing at the same place.

        Raises:
            ParallelError: data, settings, weights or progress are not the same in all, or a process is lost.
        """
        if processes.size > 1:
            processes.check_same(self.fingerprint())
        self.processes = processes

    @cached_property
    def origin(self) -> int:
        """A number that tells trainings apart: data and settings."""
        seen = zlib.crc32(repr((self._steps, self._window)).encode())
        for array in (self._data.rows, self._data.ts_ms, self._data.starts, self._data.is_target):
            seen = zlib.crc32(array.tobytes(), seen)
        return seen

    def fingerprint(self) -> int:
        """A number that tells apart what training goes on from: its origin, weights, progress."""
        best = self.stopping.best if self.stopping else None
        seen = zlib.crc32(repr((self.progress, best and (best.epoch, best.score))).encode(), self.origin)
        for tensor in self.model.state_dict().values():
            seen = zlib.crc32(tensor.numpy().tobytes(), seen)
        return seen

    def run(self, on_epoch: Callable[[EpochReport], None] = lambda _: None) -> None:
        """Train what is left of all phases.

        Args:
            on_epoch: Called after each epoch, when `progress` counts it; in the first process only.

        Raises:
            TrainingDiverged: The loss or its gradient is not finite.
            ParallelError: A process is lost.
        """
        for report in self.epochs():
            if self.processes.is_first:
                on_epoch(report)

    def epochs(self) -> Iterator[EpochReport]:
        """The same, one epoch an iteration; who leaves off says `keep_best`.

        Raises:
            TrainingDiverged: The loss or its gradient is not finite.
            ParallelError: A process is lost.
        """
        names = [phase.name for phase in self.phases]
        for number in range(names.index(self.progress.phase), len(names)):
            phase = self.phases[number]
            if self.progress.phase != phase.name:
                self.progress = Progress(phase.name)
                self.optimizer = self._new_optimizer(phase, self._steps)
            for epoch in range(self.progress.epoch, phase.n_epochs):
                if self.stopping is not None and self.stopping.is_over(epoch):
                    break
                report = self._epoch(phase, number, epoch)
                self.progress = Progress(phase.name, epoch + 1)
                yield self._validated(report)
        self.keep_best()

    def keep_best(self) -> None:
        """Go back to the weights of the epoch of the best score, where there is one; training is over."""
        if self.stopping is not None:
            self.stopping.keep_best(self.model)

    def resume(
        self,
        progress: Progress,
        weights: dict[str, Tensor],
        optimizer_state: dict[int, dict[str, Tensor]],
        *,
        best: Best | None = None,
    ) -> None:
        """Go on from an earlier run's state after `progress`, with its best epoch where it is to be stopped.

        Raises:
            ValueError: there is no such phase.
            RuntimeError: the weights are of another shape.
        """
        phase = self.phase(progress.phase)
        self.model.load_state_dict(weights)
        self.progress = progress
        self.optimizer = self._new_optimizer(phase, self._steps)
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": optimizer_state, "param_groups": groups})
        if self.stopping is not None:
            self.stopping.best = best

    def phase(self, name: str) -> Phase:
        """The phase of that name.

        Raises:
            ValueError: there is no such phase.
        """
        names = [phase.name for phase in self.phases]
        if name not in names:
            raise ValueError(f"phase {name!r} is none of {', '.join(names)}")
        return self.phases[names.index(name)]

    def _new_optimizer(self, phase: Phase, config: StepConfig) -> torch.optim.AdamW:
        return torch.optim.AdamW(
            self.model.parameters(), lr=phase.peak_lr, weight_decay=config.weight_decay, fused=True
        )

    def _epoch(self, phase: Phase, number: int, epoch: int) -> EpochReport:
        seed = [self._steps.seed, number, epoch]
        started = time.perf_counter()
        losses: list[float] = []
        n_targets = 0
        with self._moved(), seeded(seed, self.processes.rank, self.device) as generator:
            self.model.train()
            batches = list(self._batches(phase, np.random.default_rng(seed)))
            for step, batch in enumerate(batches):
                if step % STEPS_TO_GIVE_BACK == 0:
                    give_back_freed()
                self._set_rate(phase, (epoch + step / len(batches)) / phase.n_epochs)
                try:
                    losses.append(self._step(phase, batch, generator))
                except _NotFinite as exc:
                    raise _diverged(
                        exc, phase, f"batch {step + 1} of {len(batches)} of epoch {epoch + 1}", batch
                    ) from exc
                n_targets += int(batch.is_target.sum())
        self.model.eval()
        loss = float(np.mean(losses)) if losses else 0.0
        return EpochReport(phase.name, epoch, loss, n_targets, time.perf_counter() - started)

    @contextlib.contextmanager
    def _moved(self) -> Iterator[None]:
        """What steps work on is on the device in the block."""
        try:
            self._move(self.device)
            yield
        finally:
            self._move(CPU)

    def _move(self, device: torch.device) -> None:
        """Bring what steps work on to a device; batches come by themselves."""
        self.model.to(device)
        for state in self.optimizer.state.values():
            state.update({name: tensor.to(device) for name, tensor in state.items()})

    def _validated(self, report: EpochReport) -> EpochReport:
        """With the score after an epoch of the last phase; the first process asks, so that all stop alike."""
        last = [phase.name for phase in self.phases if phase.n_epochs][-1]
        if self.stopping is None or report.phase != last:
            return report
        score = self.processes.first_says(self.stopping.score)
        self.stopping.take(report.epoch + 1, score, self.model)
        return replace(report, validation=score)

    def _batches(self, phase: Phase, rng: np.random.Generator) -> Iterator[Batch]:
        return epoch_batches(
            self._data,
            window=self._window,
            batch_size=self._steps.batch_size,
            rng=rng,
            max_item_drop=phase.max_item_drop,
        )

    def _set_rate(self, phase: Phase, done: float) -> None:
        """Learning rate after a share `done` of the phase: linear rise, then linear fall."""
        warmup = self._steps.warmup_share
        rate = phase.peak_lr * min((done + 1e-3) / max(warmup, 1e-3), (1.0 - done) / (1.0 - warmup), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _step(self, phase: Phase, batch: Batch, generator: torch.Generator) -> float:
        own = self.processes.share(batch.to(self.device))
        loss = phase.loss(own, generator)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        value = self.processes.average(list(self.model.parameters()), loss, own)
        _check_finite("loss", value)  # after the others' part is in it: all stop at the same step
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._steps.clip_norm)
        _check_finite("gradient", float(norm))  # before the step: what is saved or published stays good
        self.optimizer.step()
        return value


def _check_finite(name: str, value: float) -> None:
    if not np.isfinite(value):
        raise _NotFinite(f"{name} is {value}")


def _diverged(found: _NotFinite, phase: Phase, where: str, batch: Batch) -> TrainingDiverged:
    first = ", ".join(str(row) for row in batch.rows[0, :N_ROWS_NAMED].tolist())
    return TrainingDiverged(
        f"{found} in {phase.name}; lower its learning rate or check the item features "
        f"({where}: {len(batch.rows)} sequences, the first one begins with rows {first})"
    )
