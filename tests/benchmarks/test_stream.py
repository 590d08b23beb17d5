import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.stream import Scores, Stream, check_items, finished, seed_runs, without
from freshet.evaluation.data import read_data
from models.encoder.batches import SequenceData
from models.memory.blend import PARTS
from models.memory.blocks import Block, blocks_by_time
from models.memory.learner import OnlineLearner
from models.rivals.build import BLEND, MEMORY
from models.rivals.counting import Popularity
from models.rivals.recommender import Catalogue
from stream.kinds import DEFAULT_KINDS
from stream.replay.synthetic import SyntheticConfig, SyntheticDataset
from tests.models.encoder_fixtures import small_content

N_ITEMS = 10
LATE_MS = 10**15


def walks(n_users: int = 30, length: int = 12, *, last_item: int | None = None) -> SequenceData:
    """Users walk through the items, one a minute, each from an own place; the last event of all may be another."""
    users, nth = np.repeat(np.arange(n_users), length), np.tile(np.arange(length), n_users)
    rows, times = (users + nth) % N_ITEMS, 60_000 * nth + 1_000 * users
    if last_item is not None:
        rows[np.argmax(times)] = last_item
    return SequenceData.from_events(users, rows, times)


class Recorded(Stream):
    """Keeps what both memories' scores were made of."""

    def __init__(self, data: SequenceData) -> None:
        super().__init__(data)
        self.said: list[tuple[list[float], list[float]]] = []

    def _predict(
        self, learner: OnlineLearner, block: Block, scores: Scores, *, age: float, rows: dict[str, list[Scores]]
    ) -> None:
        super()._predict(learner, block, scores, age=age, rows=rows)
        self.said.append((rows["memory"][-1].tolist(), rows["blend"][-1].tolist()))


def streamed(data: SequenceData, *, warm: bool = True) -> Recorded:
    """The second half after a warm-up on the first, or all of it; the model likes every item as much."""
    middle = int(np.median(data.ts_ms)) if warm else 0
    stream, learner = Recorded(data), OnlineLearner.new(memory=MEMORY, blend=BLEND)
    stream.warm_up(learner, blocks_by_time(data, since_ms=0, until_ms=middle))
    blocks = blocks_by_time(data, since_ms=middle, until_ms=LATE_MS)
    stream.run(learner, np.zeros((len(blocks), N_ITEMS), np.float32), blocks)
    return stream


def test_memory_and_blend_find_what_the_model_does_not_know() -> None:
    result = streamed(walks()).result()

    found = {name: result[name]["unfiltered"]["ndcg_at_10"] for name in ("model", "memory", "blend")}
    assert found["memory"] > 0.8
    assert found["blend"] > 0.8
    assert found["model"] < 0.6
    assert result["model"]["blend_gains"].keys() == result["memory"]["blend_gains"].keys()


def test_what_was_predicted_is_learned() -> None:
    result = streamed(walks(), warm=False).result()

    assert result["memory"]["unfiltered"]["ndcg_at_10"] > 0.7


def test_every_event_is_predicted_before_it_is_learned() -> None:
    plain, other = streamed(walks()), streamed(walks(last_item=5))

    assert len(plain.said) == 180
    assert plain.said == other.said  # they differ in the last event alone


def test_a_model_is_trained_on_what_came_before_and_its_scores_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained_on: list[int] = []

    def build(name: str, catalogue: Catalogue, *, seed: int) -> Popularity:
        popularity = Popularity(catalogue.n_items)
        monkeypatch.setattr(popularity, "fit", lambda train, **_: trained_on.append(len(train.rows)))
        return popularity

    monkeypatch.setattr("benchmarks.stream.build", build)
    options = argparse.Namespace(seeds=2, without=None, tune=False, model="popularity")
    first = list(seed_runs(walks(), small_content(), options, kept=tmp_path))
    again = list(seed_runs(walks(), small_content(), options, kept=tmp_path))

    assert trained_on == [259, 288] * 2  # .72 and .8 of 360, whole seconds
    told = {"seconds", "machine"}  # of the run, not of what it found
    assert [{name: run[name] for name in run.keys() - told} for run in again] == [
        {name: run[name] for name in run.keys() - told} for run in first
    ]
    assert [run["seed"] for run in first] == [0, 1]
    assert [run["seed"] for run in seed_runs(walks(), small_content(), options, kept=tmp_path, done=[0])] == [1]
    assert first[0]["weights"]["steady"] != list(BLEND.start)


def test_runs_of_an_earlier_result_are_taken_where_all_else_is_the_same(tmp_path: Path) -> None:
    path, of = tmp_path / "stream.json", {"command": "python -m benchmarks.stream", "settings": "()", "data": "shop"}
    assert finished(path, of) == []
    path.write_text(json.dumps(of | {"runs": [{"seed": 0}]}))

    assert finished(path, of) == [{"seed": 0}]
    for name in of:
        assert finished(path, of | {name: "another"}) == []


def test_a_part_without_a_say_has_none() -> None:
    blend = without("trending")
    at = PARTS.index("trending")

    assert (blend.start[at], blend.least[at], blend.most[at]) == (0.0, 0.0, 0.0)
    assert blend.start[:at] == BLEND.start[:at]


def test_items_that_come_later_are_refused() -> None:
    shop = SyntheticDataset(SyntheticConfig(n_items=96, n_users=30, n_interactions=400))
    data = read_data(shop, kinds=DEFAULT_KINDS)
    always = replace(data, live_from_ms=np.zeros(len(data.items), np.int64))

    check_items(always)
    with pytest.raises(ValueError, match=r"\d+ of \d+ items of .+ come after its first event"):
        check_items(data)
