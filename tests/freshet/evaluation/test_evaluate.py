import gzip
import json
import re
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from freshet.cli import main
from freshet.evaluation.command import EvaluateOptions, evaluate
from freshet.evaluation.data import EvaluationError
from freshet.evaluation.runs import BadRun, RunKey, Runs
from freshet.evaluation.trial import most_epochs
from models.content.table import ContentError
from models.evaluation.splits import SplitError
from models.memory.blend import BlendConfig, BlendWeights
from models.rivals.build import build
from models.rivals.recommender import Catalogue, Recommender
from models.towers.building import TowerConfig
from stream.kinds import DEFAULT_KINDS
from tests.freshet.evaluation.small_shop import START_S, write_shop, write_shop_of_texts
from tests.freshet.terminal import Terminal


@pytest.fixture
def options(tmp_path: Path) -> EvaluateOptions:
    return EvaluateOptions(
        data=str(write_shop(tmp_path / "shop")),
        models=("cooccurrence", "popularity"),
        runs=tmp_path / "runs",
        json=tmp_path / "figures.json",
    )


class Builder:
    """Makes real models, notes each, and is interrupted before the n-th."""

    def __init__(self, *, interrupted_at: int | None = None) -> None:
        self.made: list[tuple[str, int, bool]] = []
        self.weights: list[BlendWeights | None] = []
        self._interrupted_at = interrupted_at

    def __call__(
        self,
        name: str,
        catalogue: Catalogue,
        *,
        seed: int,
        n_epochs: int | None = None,
        weights: BlendWeights | None = None,
    ) -> Recommender:
        if len(self.made) == self._interrupted_at:
            raise KeyboardInterrupt
        self.made.append((name, seed, n_epochs is not None))
        self.weights.append(weights)
        return build(name, catalogue, seed=seed, n_epochs=n_epochs, weights=weights)


def run(options: EvaluateOptions, builder: Builder | None = None) -> dict[str, dict[str, object]]:
    evaluate(options, kinds=DEFAULT_KINDS, build_model=builder or Builder())
    assert options.json
    figures: dict[str, dict[str, object]] = json.loads(options.json.read_text())
    return figures


def test_figures_have_means_and_bounds_by_model_and_protocol(options: EvaluateOptions) -> None:
    models = run(options)["models"]

    figure = models["cooccurrence"]["filtered"]["ndcg@10"]
    assert set(models) == {"cooccurrence", "popularity"}
    assert 0 < figure["low"] <= figure["mean"] <= figure["high"] <= 1
    assert models["popularity"]["unfiltered"].keys() == {
        f"{name}@{k}" for name in ("recall", "ndcg", "mrr") for k in (5, 10, 20)
    }
    assert models["popularity"]["exposure"].keys() == {"ada", "bo"}
    assert models["popularity"]["lists"]["coverage@10"]["mean"] == 1.0


def test_the_table_is_printed_best_model_first(options: EvaluateOptions, capsys: pytest.CaptureFixture[str]) -> None:
    models = run(options)["models"]

    lines = capsys.readouterr().out.splitlines()
    best, other = sorted(models, key=lambda name: -models[name]["filtered"]["ndcg@10"]["mean"])
    assert re.split(r"  +", lines[0])[:4] == ["model", "seeds", "NDCG@10 [95 %]", "Recall@10"]
    assert lines[1].startswith(best)
    assert lines[2].startswith(other)
    assert lines[4].startswith("NDCG@10 by slice")


def test_the_picture_lies_beside_the_json_or_where_it_is_asked_for(options: EvaluateOptions, tmp_path: Path) -> None:
    run(options)
    run(replace(options, plot=tmp_path / "there.png"))

    for path in (tmp_path / "figures.png", tmp_path / "there.png"):
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert picture.width > picture.height > 300


def test_runs_are_kept_so_that_only_new_ones_are_made(options: EvaluateOptions) -> None:
    first, more, again = Builder(), Builder(), Builder()

    run(options, first)
    run(replace(options, models=("cooccurrence", "gru4rec"), n_seeds=2), more)
    run(replace(options, models=("gru4rec", "popularity")), again)

    assert first.made == [("cooccurrence", 0, False)] * 2 + [("popularity", 0, False)] * 2
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

    assert len(other_split.made) == len(other_data.made) == 2


def test_other_towers_are_another_run_of_what_reads_content(options: EvaluateOptions) -> None:
    options = replace(options, models=("content-knn", "popularity"))
    run(options)
    others, again = Builder(), Builder()

    run(replace(options, towers=TowerConfig(text="tfidf")), others)
    run(options, again)

    assert [name for name, *_ in others.made] == ["content-knn"] * 2
    assert again.made == []


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

    assert rest.made == [("gru4rec", 1, True)] + [("popularity", 0, False)] * 2 + [("popularity", 1, False)]
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
    ("model", "n_epochs"), [("gru4rec", 20), ("m2se-pretrained", 10), ("freshet", 22), ("popularity", 0)]
)
def test_training_ends_after_so_many_epochs_at_most(model: str, n_epochs: int) -> None:
    assert most_epochs(model) == n_epochs


def test_choosing_counts_up_to_all_epochs_that_validation_may_leave(options: EvaluateOptions) -> None:
    with redirect_stderr(Terminal()) as terminal:
        run(replace(options, models=("gru4rec",)))

    choosing = [line for line in terminal.drawn if line.startswith("choosing [")]
    n_epochs = sum(line.startswith("gru4rec, seed 0, choosing: epoch ") for line in terminal.lines)
    assert len(choosing) == 1 + n_epochs
    assert "] 0/1,200 targets, " in choosing[0]
    assert "] 60/1,200 targets, " in choosing[1]


def test_withheld_items_are_placed_by_content_alone(options: EvaluateOptions) -> None:
    options = replace(options, models=("content-knn", "cooccurrence"), split="time", withheld=0.25)

    models = run(options)["models"]

    for name in ("withheld", "withheld_among_withheld"):
        assert models["cooccurrence"]["slices"][name]["counts"]["n"] > 0
        assert models["content-knn"]["slices"][name]["filtered"]["recall@10"]["mean"] > 0
    assert models["cooccurrence"]["slices"]["cold_items"] == models["cooccurrence"]["slices"]["withheld"]
    assert (options.runs / "features").is_dir()


def test_the_blend_is_asked_with_the_weights_that_validation_taught(options: EvaluateOptions) -> None:
    builder = Builder()

    run(replace(options, models=("freshet",)), builder)

    assert builder.made == [("freshet", 0, False), ("freshet", 0, True)]
    chosen = builder.weights[1]
    assert builder.weights[0] is None
    assert chosen is not None
    assert chosen.steady != BlendConfig().start


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": ("sasrek", "m2se")}, r"--model sasrek is not known; there are popularity, cooccurrence, "),
        ({"models": ("",)}, r"--model \(nothing\) is not known; there are "),
        ({"models": ("sasrec", "sasrec")}, r"--model sasrec,sasrec names a model twice; name each once"),
        ({"n_seeds": 0}, r"--seeds 0 must be at least 1; 3 are usual"),
        ({"newest": 2}, r"--newest 2 must be at least 3: one to learn, two to ask"),
        ({"withheld": 0.7}, r"--withhold-items 0.7 must be at least 0 and at most 0.5"),
        ({"json": Path("nowhere/a.json")}, r"--json nowhere/a.json lies in a folder that does not exist; make nowhere"),
        ({"plot": Path("nowhere/a.png")}, r"--plot nowhere/a.png lies in a folder that does not exist; make nowhere"),
    ],
)
def test_options_that_cannot_be_used_are_refused(
    options: EvaluateOptions, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(EvaluationError, match=message):
        replace(options, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"json": "fig.png"}, "--json fig.png has a picture's name; end it in .json: the picture goes to --plot"),
        ({"json": "fig.PNG", "plot": "p.png"}, "--json fig.PNG has a picture's name; end it in .json"),
        ({"json": "a.json", "plot": "a.json"}, "--plot a.json must end in .png, the only format there is"),
        ({"plot": "p.pdf"}, "--plot p.pdf must end in .png, the only format there is"),
        ({"json": "folder"}, "--json folder is a folder; name a file"),
        ({"json": ""}, "--json . is a folder; name a file"),
        ({"plot": "folder"}, "--plot folder is a folder; name a file"),
        (
            {"json": "taken.json"},
            "--json taken.json puts the picture beside it, and taken.png is a folder; name a file",
        ),
        ({"json": "/dev/fd/x.json"}, "--json /dev/fd/x.json cannot be written ("),
        ({"json": "x" * 250}, "--json " + "x" * 250 + " cannot be written (File name too long); name another place"),
        ({"runs": "file"}, "--runs file: file is a file; name a folder"),
        ({"runs": "file/runs"}, "--runs file/runs: file is a file; name a folder"),
        ({"runs": "/dev/fd/runs"}, "--runs /dev/fd/runs cannot be written ("),
    ],
)
def test_places_that_cannot_be_written_are_refused_before_anything_is_trained(
    options: EvaluateOptions,
    changes: dict[str, str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("folder", "taken.png"):
        Path(folder).mkdir()
    Path("file").touch()
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(EvaluationError, match=re.escape(message)):
        replace(options, **{name: Path(value) for name, value in changes.items()})  # type: ignore[arg-type]

    assert sorted(tmp_path.rglob("*")) == before


def test_places_that_can_be_written_are_left_as_they_are(options: EvaluateOptions, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))

    replace(options, plot=tmp_path / "p.PNG", runs=tmp_path / "a" / "b")

    assert sorted(tmp_path.rglob("*")) == before


def test_an_unknown_group_is_refused_with_those_there_are(options: EvaluateOptions) -> None:
    with pytest.raises(EvaluationError, match=r"no item has the attribute 'genre'; they have provider"):
        run(replace(options, group="genre"))


def test_data_without_events_is_refused(options: EvaluateOptions) -> None:
    (Path(options.data or "") / "interactions.csv").write_text("user_id,item_id,timestamp\nada,unknown,1\n")

    with pytest.raises(EvaluationError, match=r"data set shop has 12 items and 0 events of them that enter a history"):
        run(options)


def test_validation_events_that_training_cannot_know_are_refused(options: EvaluateOptions) -> None:
    rows = [f"ada,item-{n},{START_S + n}" for n in range(3)]
    (Path(options.data or "") / "interactions.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")

    with pytest.raises(EvaluationError, match=r"none of 1 validation events can be asked: .* among the 1 that"):
        run(options)


def test_histories_within_one_second_cannot_be_asked(options: EvaluateOptions) -> None:
    rows = [f"ada,item-{n},{START_S}" for n in range(3)]
    (Path(options.data or "") / "interactions.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")

    with pytest.raises(EvaluationError, match=r"none of 1 events can be asked: each comes in its user's first second"):
        run(options)
    with pytest.raises(SplitError, match=r"3 events within 0 s cannot be cut by time"):
        run(replace(options, split="time"))


def test_the_command_takes_a_list_of_models_and_writes_the_figures(
    options: EvaluateOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    status = main(["evaluate", "--data", "shop", "--model", "popularity,cooccurrence", "--json", "a.json"])

    assert status == 0
    assert list(json.loads(Path("a.json").read_text())["models"]) == ["popularity", "cooccurrence"]
    assert len(list(Path("freshet-runs").glob("shop-leave-one-out-*-seed0-*.json.gz"))) == 2


def test_the_command_takes_the_towers_that_are_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["evaluate", "--data", str(write_shop_of_texts(tmp_path / "texts")), "--model", "content-knn"]

    monkeypatch.setenv("FRESHET_TEXT_TOWER", "tfidf")
    assert main(asked) == 0
    monkeypatch.setenv("FRESHET_TEXT_TOWER", "/no/such/folder")
    assert main(asked) == 1

    said = capsys.readouterr().err
    assert [path.name.split("-")[0] for path in Path("freshet-runs/features").iterdir()] == ["tfidf"]
    assert said.endswith(
        "freshet: no model in folder '/no/such/folder': config.json and *.safetensors are wanted there\n"
    )


def test_content_that_does_not_fit_ends_the_command_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ContentError("text tower gave nan for 'red shoe'")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("freshet.evaluation.command.encode_catalogue", refuse)
    write_shop(tmp_path / "shop")

    assert main(["evaluate", "--data", "shop", "--model", "content-knn"]) == 1
    assert capsys.readouterr().err.endswith("freshet: text tower gave nan for 'red shoe'\n")


def test_the_command_says_in_one_line_what_it_cannot_do(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["evaluate", "--model", "sasrek"]) == 1
    assert main(["evaluate", "--model", "sasrec", "--data", "nowhere"]) == 1

    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("freshet: --model sasrek is not known; there are popularity, ")
    assert lines[1] == "freshet: data folder nowhere does not exist"
