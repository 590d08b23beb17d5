"""New items and new users on 200 items, 20 of them withheld, against rankings made one by one from the events."""

import argparse
import contextlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.cold import Asked, ShopRule, figures, interval, measure
from models.encoder.batches import SequenceData
from models.evaluation.ranking import Questions, Ranked
from models.evaluation.ranks import IntArray, RankCounts
from models.evaluation.splits import drawn_items
from models.memory.blend import BlendWeights
from models.rivals.recommender import Catalogue, FitReport
from stream.replay.synthetic import SyntheticConfig, SyntheticDataset

N_ITEMS, K = 200, 10
MODELS = ("m2se", "content-knn", "sasrec")
OLD, NEW = (range(40), 40), (range(40, 60), 10)  # users and events of each
TEST_FROM = 1_620  # of 1,800 events, one a second
WITHHELD = frozenset(np.flatnonzero(drawn_items(N_ITEMS, share=0.1, seed=0)).tolist())

Event = tuple[int, int, int]  # user, item, second


def tiny_events() -> list[Event]:
    """Forty users who come all the time, and twenty whose first event lies shortly before the test or in it."""
    rng = np.random.default_rng(0)
    late = np.sort(1_500 + rng.permutation(300)[: len(NEW[0]) * NEW[1]])
    users = np.empty(1_800, np.int64)
    users[late] = rng.permutation(np.repeat(list(NEW[0]), NEW[1]))
    users[np.setdiff1d(np.arange(1_800), late)] = rng.permutation(np.repeat(list(OLD[0]), OLD[1]))
    return [(user, int(rng.integers(N_ITEMS)), second) for second, user in enumerate(users.tolist())]


EVENTS = tiny_events()


def table_of(name: str) -> NDArray[np.float32]:
    """(N, N) what each model says after a last item; sasrec puts the withheld behind all others."""
    table = np.random.default_rng(MODELS.index(name)).normal(size=(N_ITEMS, N_ITEMS)).astype(np.float32)
    if name == "sasrec":
        table[:, sorted(WITHHELD)] -= 100
    return table


@dataclass
class Drawn:
    """Scores by its table, and learns nothing but what it was shown."""

    name: str
    catalogue: Catalogue
    train: SequenceData | None = None
    validation: SequenceData | None = None

    def fit(
        self, train: SequenceData, *, validation: SequenceData | None, on_epoch: Callable[[FitReport], None]
    ) -> None:
        self.train, self.validation = train, validation

    def scores(self, histories: Sequence[IntArray], times_ms: Sequence[IntArray]) -> NDArray[np.float32]:
        return table_of(self.name)[[history[-1] for history in histories]]


class Builder:
    """Keeps all it made, and what was said meanwhile."""

    def __init__(self) -> None:
        self.made: list[Drawn] = []
        self.said = io.StringIO()

    def __call__(
        self,
        name: str,
        catalogue: Catalogue,
        *,
        seed: int,
        n_epochs: int | None = None,
        weights: BlendWeights | None = None,
    ) -> Drawn:
        self.made.append(Drawn(name, catalogue))
        return self.made[-1]


def write_data(root: Path) -> Path:
    (root / "features").mkdir(parents=True)
    np.save(root / "features" / "text.npy", np.ones((N_ITEMS, 2), np.float16))
    items = [f"item-{n},Title {n}," for n in range(N_ITEMS)]
    (root / "items.csv").write_text("\n".join(["item_id,title,text", *items]) + "\n")
    lines = [f"user-{user},item-{item},{1_700_000_000 + second}" for user, item, second in EVENTS]
    (root / "interactions.csv").write_text("\n".join(["user_id,item_id,timestamp", *lines]) + "\n")
    return root


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Builder]:
    root, builder = tmp_path_factory.mktemp("cold"), Builder()
    asked = {"data": str(write_data(root / "tiny")), "runs": root / "runs", "newest": None, "seeds": 1}
    with contextlib.redirect_stderr(builder.said):
        result = measure(argparse.Namespace(models=",".join(MODELS), **asked), build_model=builder)
    return result, builder


def asked_events() -> Iterator[tuple[int, list[int]]]:
    """Target and history of every event of the test that comes to a user's unseen item."""
    for user, target, second in EVENTS[TEST_FROM:]:
        history = [item for one, item, before in EVENTS if one == user and before < second]
        if history and target not in history:
            yield target, history


def rank(name: str, target: int, history: list[int], *, among: frozenset[int]) -> int:
    """Place of the target among some items, those of the history left out, counted one by one."""
    scores = table_of(name)[history[-1]]
    return 1 + sum(bool(scores[item] > scores[target]) for item in among.difference(history))


def mean_recall(name: str, questions: list[tuple[int, list[int]]], among: frozenset[int]) -> float:
    return sum(rank(name, *question, among=among) <= K for question in questions) / len(questions)


def mean_ndcg(name: str, questions: list[tuple[int, list[int]]]) -> float:
    ranks = [rank(name, *question, among=frozenset(range(N_ITEMS))) for question in questions]
    return sum(1 / float(np.log2(1 + one)) for one in ranks if one <= K) / len(questions)


def test_withheld_items_never_reach_training(done: tuple[dict[str, Any], Builder]) -> None:
    result, builder = done
    learned = sorted(item for _, item, _ in EVENTS[:TEST_FROM] if item not in WITHHELD)

    assert (len(WITHHELD), result["data"]["n_withheld"], len(builder.made)) == (20, 20, 5)
    for model in builder.made:
        shown = [data.rows.tolist() for data in (model.train, model.validation) if data is not None]
        assert WITHHELD.isdisjoint(item for rows in shown for item in rows)
        assert not model.catalogue.has_id[sorted(WITHHELD)].any()
        assert sorted(shown[-1]) == learned  # nothing else is missing


def test_content_towers_are_made_of_the_other_items(done: tuple[dict[str, Any], Builder]) -> None:
    assert "text tower: the vectors that 180 items brought\n" in done[1].said.getvalue()


def test_among_the_withheld_only_withheld_items_are_ranked(done: tuple[dict[str, Any], Builder]) -> None:
    found = done[0]["figures"]["withheld_recall@10_among_withheld"]
    questions = [(target, history) for target, history in asked_events() if target in WITHHELD]

    assert found["n_events"] == len(questions) == 17
    for name in MODELS:
        assert found["mean"][name]["mean"] == pytest.approx(mean_recall(name, questions, WITHHELD), abs=1e-5)
    assert found["mean"]["sasrec"]["mean"] > 0.3  # behind all others, and still told apart among themselves


def test_among_all_the_same_events_are_asked_and_everything_is_ranked(done: tuple[dict[str, Any], Builder]) -> None:
    found = done[0]["figures"]["withheld_recall@10_among_all"]
    questions = [(target, history) for target, history in asked_events() if target in WITHHELD]

    assert found["n_events"] == len(questions)
    for name in MODELS:
        expected = mean_recall(name, questions, frozenset(range(N_ITEMS)))
        assert found["mean"][name]["mean"] == pytest.approx(expected, abs=1e-5)
    assert found["mean"]["sasrec"]["mean"] == 0


def test_with_a_place_kept_the_best_withheld_item_is_shown_and_the_tenth_of_the_others_is_not(
    done: tuple[dict[str, Any], Builder],
) -> None:
    everything = frozenset(range(N_ITEMS))
    found = done[0]["figures"]["withheld_recall@10_with_a_place_kept"]
    cold = [(target, history) for target, history in asked_events() if target in WITHHELD]
    learned = [(target, history) for target, history in asked_events() if target not in WITHHELD]

    for name in MODELS:
        first = [rank(name, *one, among=everything) < K or rank(name, *one, among=WITHHELD) == 1 for one in cold]
        assert found["mean"][name]["mean"] == pytest.approx(sum(first) / len(cold), abs=1e-5)
        ranks = [rank(name, *one, among=everything) for one in learned]
        for places, figure in (
            (K, "ndcg@10_of_items_in_training"),
            (K - 1, "ndcg@10_of_items_in_training_with_a_place_kept"),
        ):
            ndcg = sum(1 / float(np.log2(1 + one)) for one in ranks if one <= places) / len(learned)
            assert done[0]["figures"][figure]["mean"][name]["mean"] == pytest.approx(ndcg, abs=1e-5)
    assert found["mean"]["sasrec"]["mean"] > 0


def test_first_events_are_those_after_histories_of_fewer_than_five(done: tuple[dict[str, Any], Builder]) -> None:
    first = [(target, history) for target, history in asked_events() if len(history) < 5]
    learned = [(target, history) for target, history in first if target not in WITHHELD]

    for name, questions in (("first_events_ndcg@10", first), ("first_events_ndcg@10_of_items_in_training", learned)):
        found = done[0]["figures"][name]
        assert found["n_events"] == len(questions)
        for model in MODELS:
            assert found["mean"][model]["mean"] == pytest.approx(mean_ndcg(model, questions), abs=1e-5)
    assert {len(history) for _, history in first} == {1, 2, 3, 4}
    assert len(first) > len(learned) > 0


def counts(greater: list[int]) -> RankCounts:
    return RankCounts(np.array(greater), np.ones(len(greater), np.int64))


def ranked(overall: list[int], among_withheld: list[int]) -> Ranked:
    inside = RankCounts(np.maximum(among_withheld, 0), (np.array(among_withheld) >= 0).astype(np.int64))
    return Ranked(counts(overall), counts(overall), inside, inside, np.zeros((len(overall), K), np.int64))


def three_questions() -> Questions:
    """Users 0, 1 and 2 with histories of 1, 4 and 5 events; the targets of the first two are withheld."""
    users = np.repeat([0, 1, 2], [2, 5, 6])
    last = np.flatnonzero(np.diff(users, append=3))
    items = np.arange(13)
    is_withheld = np.isin(items, last[:2])
    data = SequenceData.from_events(users, items, np.arange(13) * 1_000, is_target=np.isin(items, last))
    return Questions(data, np.zeros(13, np.int64), is_withheld)


def test_seeds_are_averaged_before_a_model_is_held_beside_a_rival() -> None:
    answers = {
        "m2se": [ranked([0, 0, 0], [0, 0, -1]), ranked([0, 99, 0], [0, 0, -1])],
        "content-knn": [ranked([99, 0, 0], [0, 99, -1])] * 2,
        "sasrec": [ranked([99, 2, 0], [99, 99, -1])] * 2,
    }

    found = figures(three_questions(), answers)

    among_all = found["withheld_recall@10_among_all"]
    assert (among_all["n_events"], among_all["n_users"]) == (2, 2)
    assert among_all["by_seed"] == {"m2se": [1.0, 0.5], "content-knn": [0.5, 0.5], "sasrec": [0.5, 0.5]}
    assert among_all["over_content-knn"]["m2se"]["mean"] == 1.5
    assert among_all["above_content-knn"]["m2se"] == {"mean": 0.25, "low": -0.5, "high": 1.0}
    assert found["withheld_recall@10_among_withheld"]["over_content-knn"]["m2se"]["mean"] == 2.0
    first = found["first_events_ndcg@10"]
    assert first["n_events"] == 2  # the user of five events is none
    assert first["above_sasrec"]["m2se"] == {"mean": 0.5, "low": 0.0, "high": 1.0}


def test_with_a_place_kept_the_tenth_of_the_items_in_training_is_not_shown() -> None:
    answers = {name: [ranked([99, 99, 9], [99, 0, -1])] for name in MODELS}  # the last target stands at place ten

    found = figures(three_questions(), answers)

    assert found["ndcg@10_of_items_in_training"]["mean"]["m2se"]["mean"] == pytest.approx(1 / np.log2(11), abs=1e-5)
    assert found["ndcg@10_of_items_in_training_with_a_place_kept"]["mean"]["m2se"]["mean"] == 0
    assert found["withheld_recall@10_among_all"]["mean"]["m2se"]["mean"] == 0
    assert found["withheld_recall@10_with_a_place_kept"]["mean"]["m2se"]["mean"] == 0.5


def test_slice_without_events_has_no_figure_and_stays_json() -> None:
    answers = {name: [ranked([0, 0, 0], [0, 0, -1])] for name in MODELS}

    found = figures(three_questions(), answers)["first_events_ndcg@10_of_items_in_training"]

    nothing = {"mean": None, "low": None, "high": None}
    assert (found["n_events"], found["n_users"]) == (0, 0)
    assert found["by_seed"] == {"m2se": [None], "content-knn": [None], "sasrec": [None]}
    assert found["mean"]["m2se"] == found["over_sasrec"]["m2se"] == nothing
    json.dumps(found, allow_nan=False)


def test_dropped_questions_count_in_no_model() -> None:
    values = np.array([np.nan, 1.0, 0.0])

    found = Asked.of(np.array([4, 4, 5]), {"m2se": [values]}, np.array([True, True, False]))

    assert found.users.tolist() == [4]
    assert found.values["m2se"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("above", "below", "expected"),
    [
        ([3.0], [2.0], {"mean": 1.5, "low": 1.5, "high": 1.5}),
        ([1.0, 0.0], [1.0, 1.0], {"mean": 0.5, "low": 0.0, "high": 1.0}),
        ([1.0, 0.0], [0.0, 0.0], {"mean": None, "low": None, "high": None}),
    ],
)
def test_interval_is_of_a_ratio_of_sums(above: list[float], below: list[float], expected: dict[str, float]) -> None:
    assert interval(np.array(above), np.array(below)) == expected


def test_shop_rule_scores_a_look_by_what_came_and_what_goes_with_it() -> None:
    shop = SyntheticDataset(SyntheticConfig(n_items=108, n_users=1, n_interactions=2, picture_px=32))
    items = [row.item for row in shop.items()]
    at = {(item.attributes["category"], item.attributes["style"]): row for row, item in enumerate(items)}
    rule = ShopRule(shop, [item.item_id for item in items])
    mug, lamp = at["mug", "retro"], at["lamp", "retro"]

    (scores,) = rule.scores([np.array([mug, lamp])], [np.array([0, 1])])

    by_look = {look: float(scores[row]) for look, row in at.items() if scores[row] > 0}
    assert by_look == {
        ("mug", "retro"): pytest.approx(0.12 / 2),
        ("lamp", "retro"): pytest.approx(0.12 / 2 + 0.40),
        ("chair", "retro"): pytest.approx(0.40),
    }
