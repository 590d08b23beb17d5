import numpy as np
import pytest
import torch

from models.content.table import ContentTable
from models.encoder.batches import SequenceData
from models.rivals.cooccurrence import CooccurrenceConfig
from models.rivals.counting import ContentNeighbours, Cooccurrence, Popularity, content_directions

USERS = np.array([0, 0, 0, 1, 1, 1, 2, 2, 3, 3])
ROWS = np.array([0, 1, 2, 0, 1, 3, 1, 2, 3, 3])
TRAIN = SequenceData.from_events(USERS, ROWS, 1_000 * np.arange(10))
NO_TIMES = [np.array([], np.int64)]


def history(*rows: int) -> list[np.ndarray]:
    return [np.array(rows, dtype=np.int64)]


def test_popularity_counts_training_events_and_is_the_same_for_everybody() -> None:
    rival = Popularity(5)
    rival.fit(TRAIN, validation=None, on_epoch=lambda _: None)

    scores = rival.scores([*history(0), *history()], [*NO_TIMES, *NO_TIMES])

    assert scores.tolist() == [[2.0, 3.0, 2.0, 3.0, 0.0]] * 2


def test_popularity_fitted_again_forgets_what_it_counted() -> None:
    rival = Popularity(5)
    for _ in range(2):
        rival.fit(TRAIN, validation=None, on_epoch=lambda _: None)

    assert rival.scores(history(), NO_TIMES).sum() == 10.0


def test_cooccurrence_sums_the_pairs_of_the_last_items_over_the_roots_of_both_counts() -> None:
    rival = Cooccurrence(5, CooccurrenceConfig(pair_decay=0.5, history_decay=0.5, shrinkage=1.0))
    rival.fit(TRAIN, validation=None, on_epoch=lambda _: None)

    # pairs: 0-1 2.0, 0-2 0.5, 0-3 0.5, 1-2 2.0, 1-3 1.0, 3-3 2.0; counts: 2, 3, 2, 3, 0
    assert rival.scores(history(0), NO_TIMES)[0] == pytest.approx([0, 2 / 12**0.5, 0.5 / 3, 0.5 / 12**0.5, 0])
    assert rival.scores(history(2, 0), NO_TIMES)[0] == pytest.approx(
        [0.25 / 3, 2 / 12**0.5 + 1 / 12**0.5, 0.5 / 3, 0.5 / 12**0.5, 0]
    )


def test_cooccurrence_knows_nothing_of_a_user_without_history() -> None:
    rival = Cooccurrence(5, CooccurrenceConfig())
    rival.fit(TRAIN, validation=None, on_epoch=lambda _: None)

    assert rival.scores(history(), NO_TIMES).tolist() == [[0.0] * 5]


def test_cooccurrence_of_too_many_items_leaves_out_the_rarest() -> None:
    rival = Cooccurrence(5, CooccurrenceConfig(pair_decay=1.0, shrinkage=1.0, max_items=2))
    rival.fit(TRAIN, validation=None, on_epoch=lambda _: None)

    # items 1 and 3 are the most frequent; they met once
    assert rival.scores(history(1), NO_TIMES)[0] == pytest.approx([0, 0, 0, 1 / 4, 0])
    assert rival.scores(history(0), NO_TIMES)[0].tolist() == [0.0] * 5


def small_table() -> ContentTable:
    """Item 0 east, item 1 north, item 2 the mean of both in two parts, item 3 without text, item 4 like item 0 twice
    as long; only items 0 and 3 have an image, the same."""
    text = torch.tensor([[[1.0, 0], [0, 0]], [[0, 1], [0, 0]], [[1, 0], [0, 1]], [[0, 0], [0, 0]], [[2, 0], [0, 0]]])
    text_mask = torch.tensor([[True, False], [True, False], [True, True], [False, False], [True, False]])
    image = torch.tensor([[[3.0]], [[0]], [[0]], [[1]], [[0]]])
    image_mask = torch.tensor([[True], [False], [False], [True], [False]])
    return ContentTable(tuple("abcde"), text, text_mask, image, image_mask)


def test_content_directions_have_length_one_by_modality_and_zeros_where_one_is_missing() -> None:
    half = 0.5**0.5

    assert content_directions(small_table()) == pytest.approx(
        np.array([[1, 0, 1], [0, 1, 0], [half, half, 0], [0, 0, 1], [1, 0, 0]])
    )


def test_nearest_content_sums_cosines_with_the_last_items_the_newest_weighing_most() -> None:
    rival = ContentNeighbours(small_table(), n_last=2, decay=0.5)
    half = 0.5**0.5

    scores = rival.scores([*history(0), *history(3, 1, 0), *history()], [*NO_TIMES] * 3)

    assert scores[0] == pytest.approx([2, 0, half, 1, 1])
    assert scores[1] == pytest.approx([2, 0.5, 1.5 * half, 1, 1])
    assert scores[2].tolist() == [0.0] * 5
