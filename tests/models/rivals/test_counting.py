import numpy as np
import pytest
import torch

from models.content.table import ContentTable
from models.encoder.batches import SequenceData
from models.rivals.cooccurrence import CooccurrenceConfig
from models.rivals.counting import PROFILES, ContentNeighbours, Cooccurrence, Popularity, Profile, content_directions

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
    rival = ContentNeighbours(small_table())
    rival.profile = Profile(n_last=2, decay=0.5)
    half = 0.5**0.5

    scores = rival.scores([*history(0), *history(3, 1, 0), *history()], [*NO_TIMES] * 3)

    assert scores[0] == pytest.approx([2, 0, half, 1, 1])
    assert scores[1] == pytest.approx([2, 0.5, 1.5 * half, 1, 1])
    assert scores[2].tolist() == [0.0] * 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_last": 0}, "n_last=0 must be at least 1"),
        ({"decay": 1.5}, r"decay=1\.5 must lie in \[0, 1\]"),
        ({"image_weight": -1.0}, r"image_weight=-1\.0 must be 0 or more"),
    ],
)
def test_a_profile_that_cannot_be_is_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Profile(**changes)  # type: ignore[arg-type]


def test_cosines_of_pictures_count_as_much_as_the_profile_says() -> None:
    rival = ContentNeighbours(small_table())
    rival.profile = Profile(n_last=1, image_weight=0.25)

    assert rival.scores([*history(0)], [*NO_TIMES])[0] == pytest.approx([1.25, 0, 0.5**0.5, 0.25, 1])


def pairs_of_alike(*, by_text: bool) -> tuple[ContentTable, SequenceData]:
    """Items 2k and 2k + 1 are alike in one modality, drawn in the other; users take whole pairs, one after another."""
    generator = torch.Generator().manual_seed(0)
    alike = torch.randn(20, 1, 16, generator=generator).repeat_interleave(2, dim=0)
    drawn = torch.randn(40, 1, 16, generator=generator)
    text, image = (alike, drawn) if by_text else (drawn, alike)
    is_there = torch.ones(40, 1, dtype=torch.bool)
    table = ContentTable(tuple(map(str, range(40))), text, is_there, image, is_there)
    first = np.random.default_rng(0).permuted(np.tile(np.arange(20), (30, 1)), axis=1)[:, :6]  # 30 users, 6 pairs each
    rows = np.stack([2 * first, 2 * first + 1], axis=2).reshape(-1)
    return table, SequenceData.from_events(np.repeat(np.arange(30), 12), rows, np.tile(60_000 * np.arange(12), 30))


@pytest.mark.parametrize("by_text", [True, False])
def test_nearest_content_looks_at_what_told_the_next_item_in_training(by_text: bool) -> None:
    table, train = pairs_of_alike(by_text=by_text)
    rival = ContentNeighbours(table)
    untold = SequenceData.from_events(np.arange(3), np.arange(3), np.zeros(3, np.int64))  # nothing comes after anything

    rival.fit(train, validation=None, on_epoch=print)
    chosen = rival.profile
    rival.fit(untold, validation=None, on_epoch=print)

    assert chosen.decay < 0.8
    assert chosen.image_weight == (0.0 if by_text else 2.0)
    assert rival.profile == PROFILES[0]
