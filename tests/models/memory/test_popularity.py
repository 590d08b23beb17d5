import pytest

from models.memory.popularity import WindowedPopularity


def test_scores_count_the_items_in_the_window() -> None:
    rival = WindowedPopularity(window=3)
    for item in [0, 1, 1, 2]:
        rival.update([], item)

    assert rival.scores([], 4).tolist() == [0.0, 2.0, 1.0, 0.0]


def test_scores_taken_earlier_do_not_change() -> None:
    rival = WindowedPopularity()
    before = rival.scores([], 1)

    rival.update([], 0)

    assert before.tolist() == [0.0]


def test_items_may_be_numbered_far_beyond_the_first() -> None:
    rival = WindowedPopularity()
    rival.update([], 5_000)

    assert rival.scores([], 9_000)[5_000] == 1.0


def test_a_window_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="window=0 must be at least 1; 20,000 events are usual"):
        WindowedPopularity(window=0)
