"""What a candidate is asked at the gate, and which of it the blend learns from."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from consumers.learning.judging import calibrated, slices
from consumers.learning.training_data import Sources, TrainingData, build
from models.gate import GateConfig
from models.memory.blend import PARTS, BlendConfig
from models.registry.kept_blend import KeptBlend

ITEMS = tuple(f"item-{number:02}" for number in range(20))
N_USERS = 100
GATE = GateConfig(min_events=50, max_events=1_000)
MEMORY = PARTS.index("memory")


def around(offset: int) -> str:
    """The item of an event: every user goes round the items from a start of their own."""
    return ITEMS[(3 * (offset % N_USERS) + offset // N_USERS) % 20]


def walks(
    length: int,
    *,
    n_past: int,
    followed_feed: bool = False,
    holdout_share: float = 0.0,
    item_of: Callable[[int], str] = around,
) -> TrainingData:
    """Every user makes a step in turn; what comes after the plan may have followed a feed."""
    steps, users = (which.ravel().tolist() for which in np.divmod(np.arange(length * N_USERS), N_USERS))
    table = pa.table(
        {
            "user_id": [f"user-{user}" for user in users],
            "item_id": [item_of(offset) for offset in range(len(users))],
            "ts_ms": pa.array(np.arange(len(users)) * 1_000),
            "kind": ["click"] * len(users),
            "feed_id": pa.array(["f" if followed_feed and step >= n_past else None for step in steps], pa.string()),
            "partition": pa.array([0] * len(users), pa.int32()),
            "offset": pa.array(np.arange(len(users))),
        }
    )
    return build(Sources(table, ITEMS, ITEMS, {0: n_past * N_USERS}, {"click": True}, holdout_share))


class Candidate:
    """Thinks the same of all items, and notes what it is asked."""

    owners = ITEMS

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.asked_ms: list[list[int]] = []

    def scores(
        self, sequences: Sequence[Sequence[str]], times_ms: Sequence[Sequence[int]]
    ) -> tuple[NDArray[np.float32], list[str]]:
        """(B, N) zeros."""
        self.asked += map(list, sequences)
        self.asked_ms += map(list, times_ms)
        return np.zeros((len(sequences), len(ITEMS)), np.float32), list(ITEMS)


def weights(data: TrainingData, *, parent: KeptBlend | None = None, config: GateConfig = GATE) -> KeptBlend | None:
    return calibrated(Candidate(), data, parent=parent, config=config, seed=0)


def test_the_blend_learns_from_what_came_after_the_plan() -> None:
    found = weights(walks(8, n_past=7))

    assert found is not None
    assert found.n_events == 100
    assert found.steady[MEMORY] > 0.6
    assert found.gain_ndcg_at_10 > 0.5


def test_the_blend_never_learns_from_what_followed_a_feed() -> None:
    assert weights(walks(8, n_past=7, followed_feed=True)) is None


def test_a_candidate_is_asked_by_what_the_user_had_before() -> None:
    candidate = Candidate()

    calibrated(candidate, walks(4, n_past=3), parent=None, config=GATE, seed=0)

    assert len(candidate.asked) == 100
    assert min(candidate.asked) == ["item-00", "item-01", "item-02"]
    assert min(candidate.asked_ms) == [0, 100_000, 200_000]


def test_the_blend_goes_on_from_the_weights_of_the_parent() -> None:
    parent = KeptBlend((0.5, 3.0, 0.2, -5.0), (0.0, 0.1, 0.0, 0.0), 0.0, 0.0, 300)

    found = weights(walks(8, n_past=7), parent=parent)

    assert found is not None
    assert found.steady == pytest.approx(parent.steady, abs=0.35)
    assert found.ageing == pytest.approx(parent.ageing)


def test_weights_of_a_parent_with_other_parts_are_not_gone_on_from() -> None:
    parent = KeptBlend((0.5, 3.0), (0.0, 0.3), 0.0, 0.0, 300)

    found = weights(walks(8, n_past=7), parent=parent)

    assert found is not None
    assert found.steady == pytest.approx(BlendConfig().start, abs=0.35)


def test_fewer_events_than_the_gate_decides_by_keep_no_weights() -> None:
    assert weights(walks(8, n_past=7), config=GateConfig(min_events=101)) is None


def test_no_more_events_are_learned_from_than_the_gate_may_ask() -> None:
    found = weights(walks(8, n_past=7), config=GateConfig(min_events=50, max_events=60))

    assert found is not None
    assert found.n_events == 60


def test_what_is_asked_is_not_in_the_memory_yet() -> None:
    drawn = np.random.default_rng(0).integers(0, 10, 7 * N_USERS)

    def surprised(offset: int) -> str:
        if offset < len(drawn):
            return ITEMS[drawn[offset]]
        return ITEMS[10 + drawn[offset - N_USERS]]  # at last, one that nobody had, by what the user had before it

    found = weights(walks(8, n_past=7, item_of=surprised))

    assert found is not None
    assert found.gain_ndcg_at_10 < 0  # what the memory knows speaks for others
    assert found.steady[MEMORY] < 0.6 * BlendConfig().start[MEMORY]


def test_nothing_that_followed_a_feed_is_asked() -> None:
    found = slices(walks(8, n_past=7, followed_feed=True, holdout_share=0.3), n_owners=15, config=GATE, seed=0)

    assert (found["fresh"], found["cold"]) == ([], [])
    assert found["old"]
    data = walks(8, n_past=7, holdout_share=0.3)
    of_feeds = replace(data, is_organic=np.zeros_like(data.is_organic))
    assert slices(of_feeds, n_owners=15, config=GATE, seed=0) == {"fresh": [], "cold": [], "old": []}


def test_asked_is_what_is_fresh_what_owns_no_id_and_what_users_kept_out_did_before() -> None:
    data = walks(8, n_past=7, holdout_share=0.3)
    n_held_out = sum(data.is_held_out[data.sequences.starts[:-1]].tolist())

    found = slices(data, n_owners=15, config=GATE, seed=0)

    assert len(found["fresh"]) == 100
    assert {question.target for question in found["cold"]} == set(ITEMS[15:])
    assert len(found["old"]) == 5 * n_held_out > 0
    assert max(len(question.history) for question in found["old"]) == 6  # the last step before the plan
