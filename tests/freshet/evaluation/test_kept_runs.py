import gzip
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from freshet.evaluation.command import EvaluateOptions
from freshet.evaluation.runs import BadRun, RunKey, Runs
from models.rivals import build as rivals
from models.rivals.recommender import Catalogue, Recommender
from models.towers.building import TowerConfig
from models.towers.tower import WeightsUnavailable
from tests.freshet.evaluation.running import Builder, run
from tests.freshet.evaluation.small_shop import N_ITEMS, START_S, write_shop_of_texts

MINILM_WIDTH = 384


def test_runs_are_kept_so_that_only_new_ones_are_made(options: EvaluateOptions) -> None:
    first, more, again = Builder(), Builder(), Builder()

    run(options, first)
    run(replace(options, models=("cooccurrence", "gru4rec"), n_seeds=2), more)
    run(replace(options, models=("gru4rec", "popularity")), again)

    assert first.made == [("cooccurrence", 0, False), ("popularity", 0, False)]
    assert more.made == [
        ("cooccurrence", 1, False),
        ("gru4rec", 0, False),
        ("gru4rec", 0, True),
        ("gru4rec", 1, True),
    ]
    assert again.made == []


def test_another_split_or_other_data_is_another_run(options: EvaluateOptions) -> None:
    run(options)
    other_split, other_data = Builder(), Builder()

    run(replace(options, models=("popularity",), split="time"), other_split)
    with (Path(options.data or "") / "interactions.csv").open("a") as file:
        file.write(f"user-0,item-11,{START_S + 9_000}\n")
    run(replace(options, models=("popularity",)), other_data)

    assert len(other_split.made) == len(other_data.made) == 1


def test_withheld_items_and_other_settings_make_another_run(
    options: EvaluateOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(options, models=("cooccurrence",))
    run(options)
    withheld, otherwise, again = Builder(), Builder(), Builder()

    run(replace(options, withheld=0.25), withheld)
    with monkeypatch.context() as changed:
        changed.setattr(rivals, "COOCCURRENCE", replace(rivals.COOCCURRENCE, n_last=3))
        run(options, otherwise)
    run(options, again)

    assert [len(one.made) for one in (withheld, otherwise, again)] == [1, 1, 0]


def test_towers_never_learn_from_what_came_after_the_split(
    options: EvaluateOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = write_shop_of_texts(tmp_path / "timed")
    head, *rows = (shop / "items.csv").read_text().splitlines()
    timed = [f"{head},timestamp", *(f"{row},{START_S}" for row in rows)]
    late = [f"late-{n},Late {n},A text.,ada,{START_S + 4_805}" for n in range(2)]  # the last events come then
    (shop / "items.csv").write_text("\n".join(timed + late) + "\n")
    options = replace(options, data=str(shop), models=("content-knn",), towers=TowerConfig(text="tfidf"))

    run(replace(options, split="time"))
    by_time = capsys.readouterr()
    run(options)
    at_the_end = capsys.readouterr()

    assert f"preparing the content towers on {N_ITEMS} items" in by_time.out + by_time.err
    assert f"preparing the content towers on {N_ITEMS + 2} items" in at_the_end.out + at_the_end.err


def test_other_towers_are_another_run_of_what_reads_content(options: EvaluateOptions) -> None:
    options = replace(options, models=("content-knn", "popularity"))
    run(options)
    others, again = Builder(), Builder()

    run(replace(options, towers=TowerConfig(text="tfidf")), others)
    run(options, again)

    assert [name for name, *_ in others.made] == ["content-knn"]
    assert again.made == []


def test_a_run_whose_text_had_to_be_encoded_otherwise_is_another(
    options: EvaluateOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(options, models=("content-knn", "popularity"))
    run(options)
    without_weights, asked_for = Builder(), Builder()

    def none(name: str, *, look_s: float) -> Path:
        raise WeightsUnavailable(f"{name} is not here")

    monkeypatch.setattr("models.towers.building.find_weights", none)
    run(options, without_weights)
    run(replace(options, towers=TowerConfig(text="tfidf")), asked_for)

    assert [name for name, *_ in without_weights.made] == ["content-knn"]
    assert asked_for.made == []


def test_weights_that_came_later_are_used(
    options: EvaluateOptions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = replace(options, data=str(write_shop_of_texts(tmp_path / "texts")), models=("content-knn",))
    widths = []

    class Noting(Builder):
        def __call__(self, name: str, catalogue: Catalogue, **settings: Any) -> Recommender:
            assert catalogue.content is not None
            widths.append(catalogue.content.text.shape[2])
            return super().__call__(name, catalogue, **settings)

    def none(name: str, *, look_s: float) -> Path:
        raise WeightsUnavailable(f"{name} is not here")

    with monkeypatch.context() as offline:
        offline.setattr("models.towers.building.find_weights", none)
        run(options, Noting())
    run(options, Noting())

    assert len(widths) == 2
    assert widths[0] < widths[1] == MINILM_WIDTH


def test_a_run_with_the_usual_towers_lies_where_it_always_lay(tmp_path: Path) -> None:
    key = RunKey(model="sasrec", config="c", seed=1, data_name="shop", data="d", split="time", withheld=0.25)

    assert Runs(tmp_path, n_questions=1).path(key).name == "shop-time-sasrec-seed1-0633eae5801b.json.gz"


def test_an_interrupted_run_says_how_to_go_on_goes_on_where_it_was_and_gives_the_same_json(
    options: EvaluateOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = replace(options, models=("gru4rec", "popularity"), n_seeds=2)
    undisturbed = replace(options, runs=tmp_path / "undisturbed", json=tmp_path / "undisturbed.json")
    run(undisturbed)

    with pytest.raises(KeyboardInterrupt):
        run(options, Builder(interrupted_at=2))  # the first seed is fitted, the second not yet
    assert f"stopped; what is done lies in {options.runs}, and the same command goes on" in capsys.readouterr().err
    rest = Builder()
    run(options, rest)

    assert rest.made == [("gru4rec", 1, True), ("popularity", 0, False), ("popularity", 1, False)]
    assert (tmp_path / "figures.json").read_bytes() == (tmp_path / "undisturbed.json").read_bytes()


def test_the_first_seed_chooses_for_all_even_where_it_was_interrupted(options: EvaluateOptions) -> None:
    options = replace(options, models=("gru4rec",), n_seeds=3)
    with pytest.raises(KeyboardInterrupt):
        run(options, Builder(interrupted_at=1))  # chosen and not fitted
    builder = Builder()

    n_epochs = run(options, builder)["models"]["gru4rec"]["n_epochs"]

    assert builder.made == [("gru4rec", seed, True) for seed in range(3)]
    assert n_epochs[0] > 0
    assert n_epochs == n_epochs[:1] * 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: packed[:-9],
        lambda packed: b"",
        lambda packed: b"{}",
        lambda packed: packed[:40] + bytes(10) + packed[50:],
        lambda packed: gzip.compress(gzip.decompress(packed)[:-9]),
    ],
)
def test_a_damaged_run_is_named_with_what_to_do(options: EvaluateOptions, damage: Callable[[bytes], bytes]) -> None:
    run(options)
    damaged = next(options.runs.glob("*popularity*.json.gz"))
    damaged.write_bytes(damage(damaged.read_bytes()))

    with pytest.raises(
        BadRun, match=rf"kept run {re.escape(str(damaged))} cannot be read .*; delete it to run it again"
    ):
        run(options)


@pytest.mark.parametrize(
    "damage",
    [
        {"shown": lambda shown: shown[:-1]},
        {"shown": lambda shown: [items[:-1] for items in shown]},
        {"ranks": lambda ranks: ranks | {"filtered": [ranks["filtered"][0][:-1], ranks["filtered"][1]]}},
        {"ranks": lambda ranks: {"filtered": ranks["filtered"]}},
    ],
)
def test_a_run_that_lacks_answers_is_named_with_what_to_do(
    options: EvaluateOptions, damage: dict[str, Callable[[Any], Any]]
) -> None:
    run(options)
    damaged = next(options.runs.glob("*popularity*.json.gz"))
    kept = json.loads(gzip.decompress(damaged.read_bytes()))
    kept["run"] |= {name: lack(kept["run"][name]) for name, lack in damage.items()}
    damaged.write_bytes(gzip.compress(json.dumps(kept).encode()))

    with pytest.raises(
        BadRun, match=rf"kept run {re.escape(str(damaged))} has not all 10 answers; delete it to run it again"
    ):
        run(options)
