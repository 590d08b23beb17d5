"""What a candidate is asked at the gate, and what the blend learns beside it: events that arrived after the plan."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from consumers.learning.cycle_settings import CycleSettings
from consumers.learning.segments import read_manifest
from consumers.learning.training_data import TrainingData, newest_per_user
from models.examples import Example, examples, question_spans
from models.gate import GateConfig
from models.memory.blend import Floats
from models.memory.calibration import MIN_EVENTS, CalibrationConfig, Lessons, calibrate, kept_weights
from models.memory.rows import Ints
from models.registry.kept_blend import KeptBlend
from stream.topics import EVENTS

GATE_POLL_S = 0.2
OLD_EVENTS_PER_USER = 5


class Candidate(Protocol):
    """What is needed of a ranker."""

    @property
    def owners(self) -> tuple[str, ...]:
        """Items it was trained on."""
        ...

    def scores(self, sequences: Sequence[Sequence[str]], times_ms: Sequence[Sequence[int]]) -> tuple[Floats, list[str]]:
        """(B, N) scores after items that came at these times, and the N item ids; -inf where an item is not live."""
        ...


def wait_for_later(settings: CycleSettings, offsets: Mapping[int, int], stopping: threading.Event) -> None:
    """Give events time to arrive that nobody trained on, up to the deadline.

    Args:
        settings: how many, how long, and where they arrive.
        offsets: next offset by partition that the plan goes up to.
        stopping: cuts the wait short.
    """
    deadline = time.monotonic() + settings.gate_wait_s
    while time.monotonic() < deadline and _n_later(settings, offsets) < settings.gate.min_events:
        if stopping.wait(GATE_POLL_S):
            return


def _n_later(settings: CycleSettings, offsets: Mapping[int, int]) -> int:
    ends = read_manifest(settings.folders.buffer).next.get(EVENTS, {})
    return sum(end - offsets.get(partition, 0) for partition, end in ends.items())


def slices(data: TrainingData, *, n_owners: int, config: GateConfig, seed: int) -> dict[str, list[Example]]:
    """Fresh: after the plan. Cold: those of them whose item owns no ID. Old: users no continual cycle learns from.

    The first training learned from the old ones: they tell what is forgotten, not how well a model foresees. What
    followed a feed is in none of them: it says as much of the model that made the feed as of the user.

    Args:
        data: all events; fresh are those after the plan.
        n_owners: leading items that own an ID in the candidate.
        config: how many questions.
        seed: of the draw.
    """
    owners = set(data.item_ids[:n_owners])
    old_events = newest_per_user(data, data.is_held_out & data.is_organic & ~data.is_fresh, OLD_EVENTS_PER_USER)
    fresh = examples(
        data.sequences, data.item_ids, asked=data.is_fresh & data.is_organic, limit=config.max_events, seed=seed
    )
    old = examples(data.sequences, data.item_ids, asked=old_events, limit=config.max_events, seed=seed)
    return {"fresh": fresh, "cold": [one for one in fresh if one.target not in owners], "old": old}


def calibrated(
    candidate: Candidate, data: TrainingData, *, parent: KeptBlend | None, config: GateConfig, seed: int
) -> KeptBlend | None:
    """Weights of the blend beside a candidate, from fresh events that followed no feed; None where they are too few.

    Args:
        candidate: it ranks the items of `data`, in their order; the first of them are its own.
        data: all events; fresh are those after the plan.
        parent: weights kept with the parent, which are gone on from.
        config: how many events are learned from, and how few are too few.
        seed: of the draw and of the order.
    """
    events = data.sequences
    asked = question_spans(events, asked=data.is_fresh & data.is_organic, limit=config.max_events, seed=seed)
    past = events.subset(~data.is_fresh, events.is_target)
    lessons = Lessons(past, events, asked, n_trained=len(candidate.owners))
    limits = CalibrationConfig(least_events=max(config.min_events, MIN_EVENTS))
    ids = np.array(data.item_ids, object)

    def score(histories: Sequence[Ints], times_ms: Sequence[Ints]) -> Floats:
        return candidate.scores([ids[history].tolist() for history in histories], [at.tolist() for at in times_ms])[0]

    return calibrate(score, lessons, start=kept_weights(parent), config=limits, seed=seed)
