from dataclasses import replace

import numpy as np
import pytest
import torch

from models.encoder.batches import SequenceData
from models.encoder.config import StoppingConfig, TrainingConfig
from models.encoder.training import Trainer
from models.encoder_scorer import EncoderScorer
from models.examples import examples, rank_examples
from models.held_out import HeldOut, hold_out, validation_score
from models.ranker import Ranker
from tests.models.encoder_fixtures import N_ITEMS, small_content, small_model
from tests.models.ranker_fixtures import manifest
from tests.models.rival_fixtures import cyclic_data

NEARLY_ALL = StoppingConfig(max_share=0.99, min_held_out=1)


def walks(*items: list[int], seconds: dict[int, list[int]] | None = None, reads: tuple[int, ...] = ()) -> SequenceData:
    """One user a walk, an event a second unless other seconds are given; `reads` walk with a last event to read only.

    A user who cannot be asked comes behind them, so that the share is enough for all of the others.
    """
    rows, users, ts_ms, is_target = [], [], [], []
    for user, walk in enumerate([*items, [9]]):
        rows += walk
        users += [user] * len(walk)
        ts_ms += [1_000 * second for second in (seconds or {}).get(user, range(len(walk)))]
        is_target += [not (user in reads and at == len(walk) - 1) for at in range(len(walk))]
    return SequenceData.from_events(np.array(users), np.array(rows), np.array(ts_ms), is_target=np.array(is_target))


def cut(
    data: SequenceData, config: StoppingConfig = NEARLY_ALL, *, seed: int = 0, losing: np.ndarray | None = None
) -> HeldOut:
    may_lose = np.ones(len(data.rows), np.bool_) if losing is None else losing
    held_out = hold_out(data, may_lose=may_lose, config=config, seed=seed)
    assert held_out is not None
    return held_out


def lists(data: SequenceData) -> list[list[int]]:
    return [rows.tolist() for rows in np.split(data.rows, data.starts[1:-1])]


def asked(data: SequenceData) -> list[int]:
    return data.rows[data.is_target].tolist()


def test_the_last_event_of_a_user_is_asked_and_not_learned_from() -> None:
    held_out = cut(walks([0, 1, 2], [2, 1, 0]))

    assert lists(held_out.train) == [[0, 1], [2, 1], [9]]
    assert held_out.train.is_target.all()
    assert lists(held_out.validation) == [[0, 1, 2], [2, 1, 0]]
    assert held_out.validation.is_target.tolist() == [False, False, True, False, False, True]


def test_what_is_only_read_is_never_asked_and_nothing_after_the_event_asked_is_learned_from() -> None:
    held_out = cut(walks([0, 1, 2, 3], [2, 3, 1], reads=(0,)))

    assert lists(held_out.train) == [[0, 1], [2, 3], [9]]
    assert lists(held_out.validation) == [[0, 1, 2], [2, 3, 1]]
    assert asked(held_out.validation) == [2, 1]


def test_what_could_not_be_ranked_stays_in_training() -> None:
    again, first_second, learned = [0, 1, 0], [1, 2], [2, 0, 1]

    held_out = cut(walks(again, first_second, learned, seconds={1: [5, 5]}))

    assert lists(held_out.train) == [[0, 1, 0], [1, 2], [2, 0], [9]]
    assert asked(held_out.validation) == [1]


def test_an_item_keeps_the_only_event_it_has() -> None:
    held_out = cut(walks([0, 1, 5], [1, 0, 6], [0, 6, 1]))

    assert lists(held_out.train) == [[0, 1, 5], [1, 0], [0, 6], [9]]
    assert asked(held_out.validation) == [6, 1]


def test_users_who_may_lose_nothing_are_not_sampled() -> None:
    data = walks([0, 1, 2], [2, 1, 0])

    held_out = cut(data, losing=data.users() == 1)

    assert lists(held_out.train) == [[0, 1, 2], [2, 1], [9]]
    assert lists(held_out.validation) == [[2, 1, 0]]


@pytest.mark.parametrize(
    ("config", "n"), [(replace(NEARLY_ALL, max_share=0.25), 3), (replace(NEARLY_ALL, max_held_out=2), 2)]
)
def test_a_share_of_the_users_and_a_number_are_the_most_that_is_held_out(config: StoppingConfig, n: int) -> None:
    held_out = cut(cyclic_data(), config)

    assert len(held_out.validation.starts) - 1 == held_out.validation.is_target.sum() == n
    assert len(held_out.train.rows) == 108 - n


def test_the_seed_decides_who_is_sampled() -> None:
    config = replace(NEARLY_ALL, max_share=0.5)
    once, again, other = (asked(cut(cyclic_data(), config, seed=seed).validation) for seed in (1, 1, 2))

    assert once == again != other


def test_too_few_events_are_not_held_out() -> None:
    config, data = replace(NEARLY_ALL, min_held_out=3), walks([0, 1, 2], [2, 1, 0])

    assert hold_out(data, may_lose=np.ones(len(data.rows), np.bool_), config=config, seed=0) is None
    assert len(cut(walks([0, 1, 2], [2, 1, 0], [1, 0, 2]), config).validation.starts) == 4


def test_the_score_is_what_a_served_model_comes_to() -> None:
    model, table = small_model(n_ids=N_ITEMS), small_content()
    data = cyclic_data()  # histories longer than the window
    validation = cut(data, replace(NEARLY_ALL, max_share=0.8)).validation
    ranker = Ranker(EncoderScorer(model, table.item_ids), manifest(model=model))
    ranker.add_items(table)
    questions = examples(validation, table.item_ids, asked=validation.is_target, limit=100, seed=0)

    score = validation_score(model, table, validation, seed=0)

    assert len(questions) == 9
    assert 0 < score() == pytest.approx(rank_examples(ranker, questions).means()["ndcg_at_10"])


def test_the_score_follows_the_model_and_leaves_its_training_alone() -> None:
    held_out = cut(cyclic_data(length=5), replace(NEARLY_ALL, max_share=0.8))
    config = TrainingConfig(pretrain_epochs=0, finetune_epochs=30, batch_size=8, finetune_lr=1e-2, seed=5)
    asked_often, never = (
        Trainer(small_model(n_ids=N_ITEMS), small_content(), held_out.train, config) for _ in range(2)
    )
    score = validation_score(asked_often.model, small_content(), held_out.validation, seed=0)
    scores = [score()]

    asked_often.run(lambda _: scores.append(score()))
    never.run()

    assert scores[0] < 0.7
    assert scores[-1] > 0.9
    for one, other in zip(asked_often.model.state_dict().values(), never.model.state_dict().values(), strict=True):
        assert torch.equal(one, other)
