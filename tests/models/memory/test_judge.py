"""The blend is used while it pays."""

import numpy as np
import pytest

from models.memory.judge import Judge, JudgeConfig, gain_of

NEVER_FADING = 1e12


def judged(*gains: float, half_life: float = NEVER_FADING, least_events: int = 1) -> Judge:
    judge = Judge(JudgeConfig(half_life, least_events))
    for gain in gains:
        judge.add(gain)
    return judge


def test_without_fading_mean_and_error_are_the_usual_ones() -> None:
    gains = np.random.default_rng(0).normal(0.1, 0.5, 300)
    judge = judged(*gains.tolist())
    assert judge.gain == pytest.approx(gains.mean())
    assert judge.standard_error == pytest.approx(gains.std(ddof=1) / np.sqrt(300))


def test_an_event_counts_half_after_a_half_life() -> None:
    gains = np.random.default_rng(1).normal(0.1, 0.5, 30)
    weights = 0.5 ** (np.arange(30)[::-1] / 4)
    judge = judged(*gains.tolist(), half_life=4.0)

    assert judge.gain == pytest.approx(np.average(gains, weights=weights))
    n_effective = weights.sum() ** 2 / (weights**2).sum()
    variance = np.average((gains - judge.gain) ** 2, weights=weights) * n_effective / (n_effective - 1)
    assert judge.standard_error == pytest.approx(np.sqrt(variance / n_effective))


def test_before_enough_events_it_is_off_however_well_it_does() -> None:
    assert not judged(*[1.0] * 199, least_events=200).is_on
    assert judged(*[1.0] * 200, least_events=200).is_on


def test_it_is_not_switched_on_while_it_is_no_better() -> None:
    assert not judged(*[-0.1] * 300, least_events=200).is_on
    assert not judged(*[0.0] * 300, least_events=200).is_on


def test_it_stays_on_while_it_may_be_as_good_and_goes_off_when_it_is_worse_beyond_doubt() -> None:
    judge = judged(0.5, 0.5, -0.5, -0.5, -0.5)
    assert judge.gain < 0
    assert judge.is_on
    for _ in range(50):
        judge.add(-0.5)
    assert not judge.is_on


@pytest.mark.parametrize(("n_errors", "is_on"), [(1.5, True), (2.5, False)])
def test_beyond_doubt_are_two_standard_errors(n_errors: float, is_on: bool) -> None:
    worse = n_errors / np.sqrt(99)  # of a hundred gains of 1 and -1, less this: so many errors of their mean
    assert judged(*[1 - worse, -1 - worse] * 50).is_on == is_on


def test_it_goes_on_again_when_it_is_better() -> None:
    judge = judged(*[0.5] * 5, *[-0.5] * 50, half_life=10.0)
    assert not judge.is_on
    for _ in range(50):
        judge.add(0.5)
    assert judge.is_on


def test_one_that_was_saved_goes_on_where_it_was() -> None:
    gains = np.random.default_rng(2).normal(0.01, 0.2, 80).tolist()
    again = Judge.restored(judged(*gains[:40], half_life=9.0).state(), JudgeConfig(9.0, 1))
    for gain in gains[40:]:
        again.add(gain)
    whole = judged(*gains, half_life=9.0)
    assert (again.is_on, again.n_judged) == (whole.is_on, 80)
    assert (again.gain, again.standard_error) == (whole.gain, whole.standard_error)


def test_gain_is_of_the_ranks_among_what_was_not_seen() -> None:
    model = np.array([5, 4, 3, 2, -np.inf], np.float32)
    blended = np.array([5, 4, 1, 2, -np.inf], np.float32)
    seen = np.array([0])
    assert gain_of(blended, model, seen, 3) == pytest.approx(1 / np.log2(3) - 1 / np.log2(4))
    assert gain_of(model, model, seen, 3) == 0
    assert model[0] == blended[0] == 5  # as they were


def test_what_was_seen_is_not_judged() -> None:
    scores = np.array([1, 2], np.float32)
    assert gain_of(scores, scores, np.array([1]), 1) is None


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="half_life=0 must be above 0 and least_events=1 at least 1"):
        JudgeConfig(half_life=0, least_events=1)
