"""Weights of the blend to keep with a model: learned at the gate, beside it, from events that it was not trained on.

    memory and counts live through the newest past events      they stand where the model's data end, and stay there
    each question, in a drawn order: predict, judge, learn     once, inside the bounds of the weights

The order is drawn, as evaluation draws it (`models.rivals.blended`): in the order of time the weights would end as the
last events would have them. Judged is among all candidates, learned among the items that the model was trained on:
beside others, any count tells little more than whether training saw the item. Nothing that followed a feed may be
asked: what was shown says as much of the ranker as of the user.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.encoder.batches import SequenceData
from models.memory.blend import BlendConfig, BlendWeights, Floats, utilities
from models.memory.blocks import Block, blocks_by_time
from models.memory.judge import Judge, JudgeConfig, gain_of
from models.memory.learner import OnlineLearner
from models.memory.rows import Ints
from models.registry.kept_blend import KeptBlend

# histories, oldest first, and the event time of each row -> (B, N) of the model, -inf for no candidate
Score = Callable[[Sequence[Ints], Sequence[Ints]], Floats]

BATCH_SIZE = 256
MIN_EVENTS = 2  # fewer have no standard error


@dataclass(frozen=True)
class CalibrationConfig:
    """How much is looked at.

    Attributes:
        max_past: newest events that the memory lives through; at 60 microseconds each they are what it costs.
        least_events: judged, at least 2; fewer are no reason to leave the weights that are in force.
        blend: how the weights are learned.
    """

    max_past: int = 200_000
    least_events: int = 200
    blend: BlendConfig = field(default_factory=BlendConfig)

    def __post_init__(self) -> None:
        if self.max_past < 1:
            raise ValueError(f"max_past={self.max_past} must be at least 1; 200,000 is usual")
        if self.least_events < MIN_EVENTS:
            raise ValueError(f"least_events={self.least_events} must be at least {MIN_EVENTS}; 200 is usual")


@dataclass(frozen=True)
class Lessons:
    """What a model's blend is learned from. Rows number the model's columns.

    Attributes:
        past: histories up to where the model's data end.
        events: histories with what came since.
        asked: (Q, 3) int64 places in `events`, as `models.examples.question_spans` gives them: a history's first event,
            the end of it, the event that came; none of these is in `past`.
        n_trained: leading rows that the model was trained on.
    """

    past: SequenceData
    events: SequenceData
    asked: NDArray[np.int64]
    n_trained: int


def calibrate(
    score: Score, lessons: Lessons, *, start: BlendWeights | None, config: CalibrationConfig, seed: int
) -> KeptBlend | None:
    """Learn the weights beside a fresh model, and say what they came to.

    Args:
        score: the model.
        lessons: what came before its data ended, and after.
        start: weights to go on from; the configured start when None.
        config: how much is looked at.
        seed: of the order.

    Returns:
        The weights and their gain, each event predicted before it was learned; None where too few could be judged.
    """
    learner = OnlineLearner.new(blend=config.blend, weights=start)
    _live_through(learner, lessons.past, newest_blocks(lessons.past, config.max_past))
    judge = Judge(JudgeConfig(half_life=math.inf))
    drawn = np.random.default_rng(seed).permutation(lessons.asked)
    for at in range(0, len(drawn), BATCH_SIZE):
        for question in _questions(score, lessons.events, drawn[at : at + BATCH_SIZE]):
            _learn(learner, judge, question, n_trained=lessons.n_trained)
    if judge.n_judged < config.least_events:
        return None
    weights = learner.blend.weights
    return KeptBlend(weights.steady, weights.ageing, judge.gain, judge.standard_error, judge.n_judged)


def kept_weights(kept: KeptBlend | None, *, number: int = 0) -> BlendWeights | None:
    """Kept weights to go on from; None where nothing was kept, or by a release with other parts."""
    try:
        return None if kept is None else BlendWeights(number, kept.steady, kept.ageing)
    except ValueError:
        return None


def newest_blocks(data: SequenceData, max_events: int) -> list[Block]:
    """The newest blocks that hold at most so many events together, oldest first."""
    if not len(data.ts_ms):
        return []
    nth = max(len(data.ts_ms) - max_events, 0)
    since_ms = int(np.partition(data.ts_ms, nth)[nth])  # spares making blocks of all there is
    blocks = blocks_by_time(data, since_ms=since_ms, until_ms=int(data.ts_ms.max()) + 1)
    totals = np.cumsum([block.end - block.begin for block in reversed(blocks)])
    return blocks[len(blocks) - int(np.searchsorted(totals, max_events, side="right")) :]


def _live_through(learner: OnlineLearner, data: SequenceData, blocks: Sequence[Block]) -> None:
    for first, begin, end in blocks:
        learner.apply(data.rows[first:begin], data.rows[begin:end].tolist(), data.ts_ms[begin:end].tolist())


class _Question(NamedTuple):
    model: Floats  # (N,) before it came
    history: Ints
    target: int


def _questions(score: Score, data: SequenceData, asked: NDArray[np.int64]) -> list[_Question]:
    histories = [data.rows[first:end] for first, end, _ in asked.tolist()]
    times_ms = [data.ts_ms[first:end] for first, end, _ in asked.tolist()]
    targets = data.rows[asked[:, 2]].tolist()
    return [_Question(*one) for one in zip(score(histories, times_ms), histories, targets, strict=True)]


def _learn(learner: OnlineLearner, judge: Judge, question: _Question, *, n_trained: int) -> None:
    """Predict, judge, learn; what is no candidate is passed over."""
    model, history, target = question
    if model[target] == -np.inf:
        return
    parts = learner.parts(model, history)
    gain = gain_of(utilities(learner.blend.weights, parts), model, history, target)
    if gain is not None:
        judge.add(gain)
    is_trained = np.arange(len(model)) < n_trained
    learner.blend.learn(parts._replace(is_candidate=parts.is_candidate & is_trained), target)
