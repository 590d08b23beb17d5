import json
import math
from typing import cast

import pytest

from models.examples import Example
from models.gate import GateConfig, Verdict, judge
from models.ranker import Ranker
from tests.models.ranker_fixtures import ScoredByHand

DECIDES = GateConfig(margin=0.05, min_events=4)


def ranker_of(**scores: float) -> Ranker:
    return cast(Ranker, ScoredByHand(**scores))


FIRST = ranker_of(seen=9.0, target=5.0, other=1.0)  # puts the target first: NDCG 1
SECOND = ranker_of(seen=9.0, target=5.0, other=7.0)  # puts it second: NDCG 0.6309


def questions(n: int = 4, *, target: str = "target") -> list[Example]:
    """One of each of n users."""
    return [Example(user, ("seen",), (0,), target) for user in range(n)]


def test_first_model_passes_with_its_figures() -> None:
    verdict = judge(SECOND, None, {"fresh": questions()}, DECIDES)

    assert verdict == Verdict(
        True,
        "first model, nothing to compare it with",
        {"fresh_events": 4.0, "fresh_dropped": 0.0, "fresh_ndcg_at_10": pytest.approx(0.6309, abs=1e-4)},
    )


def test_better_model_passes_and_says_by_how_much() -> None:
    verdict = judge(FIRST, SECOND, {"fresh": questions()}, DECIDES)

    assert verdict.is_passed
    assert verdict.reason == "fresh NDCG@10 0.6309 -> 1.0000 (gain +0.3691..+0.3691)"
    assert verdict.metrics == {
        "fresh_events": 4.0,
        "fresh_dropped": 0.0,
        "fresh_ndcg_at_10": 1.0,
        "fresh_ndcg_at_10_parent": pytest.approx(0.6309, abs=1e-4),
        "fresh_ndcg_at_10_gain": pytest.approx(0.3691, abs=1e-4),
    }


def test_worse_model_is_refused_with_loss_and_margin_first() -> None:
    verdict = judge(SECOND, FIRST, {"fresh": questions()}, DECIDES)

    assert not verdict.is_passed
    assert verdict.reason == (
        "fresh lost 36.9%, the margin is 5.0%; fresh NDCG@10 1.0000 -> 0.6309 (gain -0.3691..-0.3691)"
    )


def test_loss_within_the_margin_passes() -> None:
    verdict = judge(SECOND, FIRST, {"fresh": questions()}, GateConfig(margin=0.37, min_events=4))

    assert verdict.is_passed


def test_loss_is_a_share_of_what_the_old_model_had() -> None:
    crowd = {f"other-{n}": 5.0 for n in range(20)}
    old = ranker_of(seen=9.0, target=8.0, last=7.0, missed=1.0, **crowd)
    new = ranker_of(seen=9.0, target=7.0, last=8.0, missed=1.0, **crowd)

    verdict = judge(new, old, {"fresh": [*questions(1), *questions(9, target="missed")]}, DECIDES)

    assert not verdict.is_passed
    assert verdict.reason.startswith("fresh lost 36.9%, the margin is 5.0%; fresh NDCG@10 0.1000 -> 0.0631")


def test_mean_decides_and_not_the_worst_that_chance_allows() -> None:
    old = ranker_of(seen=9.0, target=5.0, second=4.0, other=3.0, last=2.0)
    new = ranker_of(seen=9.0, target=5.0, second=1.0, other=3.0, last=2.0)
    one_user = Example(9, ("seen",), (0,), "second")

    verdict = judge(new, old, {"fresh": [*questions(9), one_user]}, DECIDES)

    assert verdict.is_passed
    assert verdict.reason == "fresh NDCG@10 0.9631 -> 0.9431 (gain -0.0601..+0.0000)"


def test_loss_on_one_slice_refuses_whatever_the_others_gained() -> None:
    new = ranker_of(seen=9.0, target=5.0, other=7.0, cold=8.0, last=6.0)
    old = ranker_of(seen=9.0, target=8.0, other=5.0, cold=7.0, last=6.0)

    verdict = judge(new, old, {"fresh": questions(target="cold"), "old": questions(target="target")}, DECIDES)

    assert not verdict.is_passed
    assert verdict.reason.startswith("old lost 56.9%, the margin is 5.0%; fresh NDCG@10 0.6309 -> 1.0000")


def test_too_few_events_are_reported_and_decide_nothing() -> None:
    verdict = judge(SECOND, FIRST, {"cold": questions(3)}, DECIDES)

    assert verdict.is_passed
    assert verdict.reason == ("cold NDCG@10 1.0000 -> 0.6309 (gain -0.3691..-0.3691), too few events (3 < 4) to decide")


def test_events_whose_target_was_seen_before_do_not_count_towards_enough() -> None:
    repeated = [Example(user, ("seen",), (0,), "seen") for user in range(4)]

    verdict = judge(SECOND, FIRST, {"fresh": [*questions(3), *repeated]}, DECIDES)

    assert verdict.is_passed
    assert verdict.reason.endswith("too few events (3 < 4) to decide")
    assert (verdict.metrics["fresh_events"], verdict.metrics["fresh_dropped"]) == (3.0, 4.0)


def test_slice_of_nothing_but_seen_targets_has_no_figures_rather_than_nan() -> None:
    repeated = [Example(user, ("seen",), (0,), "seen") for user in range(9)]

    verdict = judge(SECOND, FIRST, {"old": repeated}, DECIDES)

    assert verdict == Verdict(True, "no held-out events yet", {"old_events": 0.0, "old_dropped": 9.0})
    assert not any(math.isnan(figure) for figure in verdict.metrics.values())
    json.dumps(verdict.metrics, allow_nan=False)


def test_without_held_out_events_the_model_passes_and_says_so() -> None:
    verdict = judge(FIRST, SECOND, {"fresh": [], "cold": []}, DECIDES)

    assert verdict == Verdict(
        True,
        "no held-out events yet",
        {"fresh_events": 0.0, "fresh_dropped": 0.0, "cold_events": 0.0, "cold_dropped": 0.0},
    )


def test_old_model_without_a_hit_cannot_be_lost_against() -> None:
    blind = ranker_of(seen=9.0, **{f"other-{n}": 5.0 for n in range(20)}, target=1.0)

    verdict = judge(blind, blind, {"fresh": questions()}, DECIDES)

    assert verdict.is_passed
    assert verdict.reason == "fresh NDCG@10 0.0000 -> 0.0000 (gain +0.0000..+0.0000)"


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"margin=1\.0 must lie in \[0, 1\)"):
        GateConfig(margin=1.0)
    with pytest.raises(ValueError, match="1 <= min_events=9 <= max_events=8 must hold"):
        GateConfig(min_events=9, max_events=8)
