"""A model's scores with the memory and the counts beside them: what a ranker makes of all three."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.blending import FeedBlend
from models.memory.blend import BlendWeights
from models.ranker import FeedRequest, Ranker
from tests.models.encoder_fixtures import N_ITEMS, small_content
from tests.models.ranker_fixtures import small_ranker

MODEL_ONLY = (1.0, 0.0, 0.0, 0.0)
ALL = FeedRequest(items=["item-3"], k=N_ITEMS)


class HandMemory:
    """Numbers items in the order they come, and says of each what a test asks for, whatever the history."""

    def __init__(self, **scores: float) -> None:
        self.item_ids = [name.replace("_", "-") for name in scores]
        self.values = list(scores.values())
        self.n_lookups = 0

    @property
    def n_items(self) -> int:
        return len(self.item_ids)

    def numbers(self, item_ids: Sequence[str]) -> NDArray[np.int64]:
        self.n_lookups += len(item_ids)
        known = {item_id: number for number, item_id in enumerate(self.item_ids)}
        return np.array([known.get(item_id, -1) for item_id in item_ids], dtype=np.int64)

    def scores(self, history: Sequence[str]) -> NDArray[np.float32]:
        return np.array(self.values, np.float32)


def full_ranker() -> Ranker:
    ranker = small_ranker(["item-0", "item-1"])
    ranker.add_items(small_content())
    return ranker


def blend(memory: HandMemory, *weights: float, **counts: int) -> FeedBlend:
    counted = {name.replace("_", "-"): n for name, n in counts.items()}
    return FeedBlend(BlendWeights(7, weights, (0.0,) * 4), 0.0, memory, counted)


def ids(ranker: Ranker, request: FeedRequest, in_force: FeedBlend | None) -> list[str]:
    return [one.item_id for one in ranker.recommend([request], blend=in_force)[0]]


def test_a_blend_of_the_model_alone_keeps_its_order() -> None:
    ranker = full_ranker()

    assert ids(ranker, ALL, blend(HandMemory(item_5=0.9), *MODEL_ONLY, item_6=50)) == ids(ranker, ALL, None)


def test_the_score_is_the_weighted_sum_of_the_parts() -> None:
    ranker = full_ranker()
    plain = {one.item_id: one.score for one in ranker.recommend([ALL])[0]}
    total = np.log(sum(np.exp(score) for score in plain.values()))

    answer = ranker.recommend([ALL], blend=blend(HandMemory(item_5=0.1), 0.5, 2.0, 0.3, -1.0, item_6=9))[0]

    scores = {one.item_id: one.score for one in answer}
    assert scores["item-1"] == pytest.approx(0.5 * (plain["item-1"] - total), abs=1e-4)
    assert scores["item-5"] == pytest.approx(0.5 * (plain["item-5"] - total) + 2.0 * np.log1p(2.0), abs=1e-4)
    assert scores["item-6"] == pytest.approx(0.5 * (plain["item-6"] - total) + 0.3 * np.log(10.0), abs=1e-4)
    assert scores["item-3"] == pytest.approx(0.5 * (plain["item-3"] - total) - 1.0, abs=1e-4)


def test_each_item_says_which_part_brought_it() -> None:
    in_force = blend(HandMemory(item_5=0.9), 0.01, 9.0, 3.0, 0.0, item_6=50)

    answer = full_ranker().recommend([replace(ALL, k=2)], blend=in_force)[0]

    assert [(one.item_id, one.brought_by) for one in answer] == [("item-5", "memory"), ("item-6", "trending")]


def test_without_a_blend_no_part_is_named() -> None:
    assert {one.brought_by for one in full_ranker().recommend([ALL])[0]} == {None}


def test_what_is_excluded_stays_out_whatever_the_memory_says() -> None:
    request = FeedRequest(items=["item-3"], exclude={"item-5", "item-3"}, k=N_ITEMS)

    answer = ids(full_ranker(), request, blend(HandMemory(item_5=0.9), 1.0, 9.0, 0.0, 0.0))

    assert len(answer) == N_ITEMS - 2
    assert not {"item-3", "item-5"} & set(answer)


def test_nothing_is_blended_where_the_model_knows_nothing_or_all_is_excluded() -> None:
    in_force = blend(HandMemory(item_5=0.9), 1.0, 9.0, 0.0, 0.0)
    everything = {f"item-{n}" for n in range(N_ITEMS)}

    answers = full_ranker().recommend(
        [FeedRequest(["nobody"]), FeedRequest(["item-3"], exclude=everything)], blend=in_force
    )

    assert answers == [[], []]


def test_a_newcomer_has_the_last_place_and_no_part_brought_it() -> None:
    request = FeedRequest(["item-3"], k=10, newcomers=["item-9"])
    buried = blend(HandMemory(), 1.0, 0.0, 3.0, 0.0, **{f"item_{n}": 99 for n in range(N_ITEMS) if n != 9})

    answer = full_ranker().recommend([request], blend=buried)[0]

    assert (answer[-1].item_id, answer[-1].is_newcomer, answer[-1].brought_by) == ("item-9", True, None)


def test_an_item_that_either_side_learns_of_later_is_found() -> None:
    ranker = small_ranker(["item-0"])
    content = small_content()
    ranker.add_items(content.select(torch.arange(6)))
    memory = HandMemory(item_11=0.9)
    in_force = blend(memory, 0.01, 9.0, 0.0, 0.0)
    assert "item-11" not in ids(ranker, ALL, in_force)

    ranker.add_items(content)
    assert ids(ranker, ALL, in_force)[0] == "item-11"

    memory.item_ids.append("item-4")
    memory.values.append(0.99)
    assert ids(ranker, ALL, in_force)[0] == "item-4"


def test_items_are_looked_up_again_only_when_something_came() -> None:
    ranker, memory = full_ranker(), HandMemory(item_5=0.9)
    in_force = blend(memory, 1.0, 1.0, 0.0, 0.0)
    ranker.recommend([ALL, ALL], blend=in_force)
    assert memory.n_lookups == N_ITEMS

    ranker.recommend([ALL], blend=in_force)
    assert memory.n_lookups == N_ITEMS

    memory.item_ids.append("item-4")
    memory.values.append(0.5)
    ranker.recommend([ALL], blend=in_force)
    assert memory.n_lookups == 2 * N_ITEMS - 1  # all but item-5, which has its number


def test_counts_of_another_moment_are_taken_over() -> None:
    ranker, memory = full_ranker(), HandMemory()

    assert ids(ranker, ALL, blend(memory, 0.01, 0.0, 9.0, 0.0, item_6=50))[0] == "item-6"
    assert ids(ranker, ALL, blend(memory, 0.01, 0.0, 9.0, 0.0, item_7=50, nobody=70))[0] == "item-7"


def test_the_age_of_the_model_moves_the_weights() -> None:
    memory = HandMemory(item_5=0.9)
    weights = BlendWeights(1, (1.0, 0.0, 0.0, 0.0), (-0.3, 3.0, 0.0, 0.0))

    assert ids(full_ranker(), ALL, FeedBlend(weights, 0.0, memory, {})) == ids(full_ranker(), ALL, None)
    assert ids(full_ranker(), ALL, FeedBlend(weights, 3.0, memory, {}))[0] == "item-5"
