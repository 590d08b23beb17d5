import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from consumers.watching.blocks import Block, Target
from consumers.watching.prequential import Prequential, ScoreSequences, WindowMeans
from models.rivals.panel import RivalPanel, default_rivals

ITEMS = [f"i{number:02d}" for number in range(20)]
Answer = tuple[NDArray[np.float32], list[str]]


def falling(sequences: Sequence[Sequence[str]], times_ms: Sequence[Sequence[int]] = ()) -> Answer:
    """Ranks i00 before i01 before i02 ... for everybody."""
    return np.tile(-np.arange(20, dtype=np.float32), (len(sequences), 1)), ITEMS


def target(item_id: str, *, user_id: str = "ada", seen: Sequence[str] = ("i19",), is_exposed: bool = False) -> Target:
    return Target(Block(user_id, 1, tuple(seen), (0,) * len(seen), tuple(seen)), item_id, is_exposed)


def test_figures_are_those_of_the_rank_the_item_had() -> None:
    prequential = Prequential()

    assert prequential.rank([target("i00"), target("i02", user_id="bo"), target("i15")], falling, version="v1") == 3

    filtered = prequential.report()["organic"]["model"]["filtered"]
    assert (filtered["n"], filtered["n_users"], filtered["n_dropped"]) == (3, 2, 0)
    assert filtered["recall_at_10"] == pytest.approx(2 / 3)
    assert filtered["ndcg_at_10"] == pytest.approx((1 + 1 / math.log2(4)) / 3)
    assert filtered["mrr"] == pytest.approx((1 + 1 / 3 + 1 / 16) / 3)
    assert prequential.report()["n_by_version"] == {"v1": 3}


def test_seen_items_leave_the_candidates_only_when_filtered() -> None:
    prequential = Prequential()

    prequential.rank([target("i10", seen=["i00", "i01"])], falling, version="v1")

    model = prequential.report()["organic"]["model"]
    assert model["filtered"]["mrr"] == pytest.approx(1 / 9)
    assert model["unfiltered"]["mrr"] == pytest.approx(1 / 11)


def test_a_target_seen_before_is_dropped_and_counted_when_filtered() -> None:
    prequential = Prequential()

    prequential.rank([target("i00", seen=["i00"])], falling, version="v1")

    model = prequential.report()["organic"]["model"]
    assert model["filtered"] == {"n": 0, "n_users": 0, "n_dropped": 1}
    assert model["unfiltered"]["n"] == 1


def test_users_without_history_are_counted_and_not_ranked() -> None:
    prequential = Prequential()

    assert prequential.rank([target("i00", seen=[])], falling, version="v1") == 0
    assert prequential.report()["n_without_history"] == 1


def test_organic_and_exposed_events_are_kept_apart() -> None:
    prequential = Prequential()

    prequential.rank([target("i00"), target("i15", is_exposed=True)], falling, version="v1")

    report = prequential.report()
    assert report["organic"]["model"]["filtered"]["recall_at_10"] == 1.0
    assert report["exposed"]["model"]["filtered"]["recall_at_10"] == 0.0
    assert prequential.window_means("exposed", "filtered")["mrr"] == pytest.approx(1 / 16)


@pytest.mark.parametrize("item_id", ["unknown", "i05"])
def test_a_target_that_is_not_live_is_a_miss_and_counted(item_id: str) -> None:
    def scorer(sequences: Sequence[Sequence[str]], times_ms: Sequence[Sequence[int]]) -> Answer:
        scores, item_ids = falling(sequences)
        scores[:, 5] = -np.inf  # removed
        return scores, item_ids

    prequential = Prequential()
    prequential.rank([target(item_id)], scorer, version="v1")

    report = prequential.report()
    assert report["n_not_live"] == 1
    assert report["organic"]["model"]["filtered"]["recall_at_10"] == 0.0
    assert report["organic"]["model"]["unfiltered"]["mrr"] == pytest.approx(1 / 20)


def test_a_model_that_knows_nothing_of_the_sequence_ranks_at_random() -> None:
    def scorer(sequences: Sequence[Sequence[str]], times_ms: Sequence[Sequence[int]]) -> Answer:
        return np.full((len(sequences), 20), -np.inf, np.float32), ITEMS

    prequential = Prequential()
    prequential.rank([target("i00")], scorer, version="v1")

    assert prequential.report()["organic"]["model"]["unfiltered"]["recall_at_10"] == pytest.approx(0.5)


def test_a_model_without_items_ranks_nothing() -> None:
    prequential = Prequential()

    prequential.rank([target("i00")], lambda s, _: (np.zeros((len(s), 0), np.float32), []), version="v1")

    assert prequential.report()["n_not_live"] == 1


def test_of_an_item_that_stands_twice_the_last_column_counts() -> None:
    def scorer(sequences: Sequence[Sequence[str]], times_ms: Sequence[Sequence[int]]) -> Answer:
        return np.tile(np.array([-np.inf, 2.0, 1.0], np.float32), (len(sequences), 1)), ["a", "b", "a"]

    prequential = Prequential()
    prequential.rank([target("a", seen=["z"])], scorer, version="v1")

    assert prequential.report()["organic"]["model"]["filtered"]["mrr"] == pytest.approx(0.5)


def test_items_that_arrive_between_batches_get_their_column() -> None:
    prequential = Prequential()
    prequential.rank([target("i00")], falling, version="v1")

    prequential.rank([target("new")], lambda s, _: (np.array([[0.0, 1.0]], np.float32), ["i00", "new"]), version="v1")

    assert prequential.report()["organic"]["model"]["filtered"]["recall_at_10"] == 1.0


def test_each_block_is_scored_once_and_in_batches_of_the_given_size() -> None:
    sizes = []

    def counting(sequences: Sequence[Sequence[str]], times_ms: Sequence[Sequence[int]]) -> Answer:
        sizes.append(len(sequences))
        return falling(sequences)

    block = Block("ada", 1, ("i19",), (0,), ("i19",))
    targets = [Target(block, "i00", False), Target(block, "i01", False), *(target("i02") for _ in range(4))]

    Prequential(max_batch=2).rank(targets, counting, version="v1")

    assert sizes == [2, 2, 1]


def test_rivals_are_ranked_on_the_same_events_among_the_same_live_items() -> None:
    panel = RivalPanel(default_rivals())
    for user_id, item_id in [("bo", "i15"), ("bo", "i03"), ("cy", "i03"), ("ada", "i15")]:
        panel.learn(user_id, item_id)
    block = Block("ada", 1, ("i15",), (0,), ("i15",), panel.scores("ada"))
    prequential = Prequential(panel=panel)

    prequential.rank([Target(block, "i03", False)], falling, version="v1")

    organic = prequential.report()["organic"]
    assert organic["model"]["filtered"]["mrr"] == pytest.approx(1 / 4)
    assert organic["popularity"]["filtered"]["mrr"] == 1.0
    assert organic["popularity"]["unfiltered"]["mrr"] == pytest.approx((1 + 1 / 2) / 2)  # tied with i15
    assert organic["cooccurrence"]["filtered"]["mrr"] == 1.0
    assert organic["cooccurrence"]["model_gains"]["mrr"]["mean"] == pytest.approx(-0.75)


def test_the_report_is_plain_json_even_before_the_first_event() -> None:
    report = Prequential(panel=RivalPanel(default_rivals())).report()

    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_a_model_that_scores_nan_is_refused() -> None:
    nan: ScoreSequences = lambda s, _: (np.full((len(s), 20), np.nan, np.float32), ITEMS)  # noqa: E731

    with pytest.raises(ValueError, match="scores hold NaN"):
        Prequential().rank([target("i00")], nan, version="v1")


def test_window_means_forget_the_oldest() -> None:
    window = WindowMeans(3, ["recall"])
    assert window.means() == {}

    window.add(np.array([[1.0], [1.0]]))
    assert window.means() == {"recall": 1.0}

    window.add(np.array([[0.0], [0.0]]))
    assert window.means() == {"recall": pytest.approx(1 / 3)}

    window.add(np.array([[9.0], [9.0], [4.0], [4.0], [1.0]]))
    assert window.means() == {"recall": 3.0}


@pytest.mark.parametrize(("window", "max_batch"), [(0, 1), (1, 0)])
def test_empty_windows_and_batches_are_refused(window: int, max_batch: int) -> None:
    with pytest.raises(ValueError, match=f"window={window} and max_batch={max_batch} must be at least 1"):
        Prequential(window=window, max_batch=max_batch)
