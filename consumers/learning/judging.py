"""What a candidate is asked at the gate: events that arrived after the plan, and old ones of users kept out."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from consumers.learning.cycle_settings import CycleSettings
from consumers.learning.segments import read_manifest
from consumers.learning.training_data import TrainingData, newest_per_user
from models.examples import Example, examples
from models.gate import GateConfig
from stream.topics import EVENTS

GATE_POLL_S = 0.2
OLD_EVENTS_PER_USER = 5


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
    """Fresh: after the plan. Cold: those of them whose item owns no ID. Old: users no cycle learns from.

    Args:
        data: all events; fresh are those after the plan.
        n_owners: leading items that own an ID in the candidate.
        config: how many questions.
        seed: of the draw.
    """
    owners = set(data.item_ids[:n_owners])
    old_events = newest_per_user(data, data.is_held_out & ~data.is_fresh, OLD_EVENTS_PER_USER)
    fresh = examples(data.sequences, data.item_ids, asked=data.is_fresh, limit=config.max_events, seed=seed)
    old = examples(data.sequences, data.item_ids, asked=old_events, limit=config.max_events, seed=seed)
    return {"fresh": fresh, "cold": [one for one in fresh if one.target not in owners], "old": old}
