import json
import re
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from freshet.cli import main
from freshet.evaluation.command import EvaluateOptions
from freshet.evaluation.trial import most_epochs
from models.content.table import ContentError
from models.memory.blend import BlendConfig
from tests.freshet.evaluation.running import Builder, run
from tests.freshet.evaluation.small_shop import write_shop, write_shop_of_one_item, write_shop_of_texts
from tests.freshet.terminal import Terminal


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


def test_that_nothing_could_be_ranked_is_said_with_the_counts(
    options: EvaluateOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(replace(options, data=str(write_shop_of_one_item(tmp_path / "one")), models=("popularity",)))

    out = capsys.readouterr().out
    assert "nan" not in out
    assert "no filtered figures: none of 10 events asked could be ranked, each is of an item that the user had" in out


def test_the_picture_lies_beside_the_json_or_where_it_is_asked_for(options: EvaluateOptions, tmp_path: Path) -> None:
    run(options)
    run(replace(options, plot=tmp_path / "there.png"))

    for path in (tmp_path / "figures.png", tmp_path / "there.png"):
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert picture.width > picture.height > 300


@pytest.mark.parametrize(
    ("model", "n_epochs"), [("gru4rec", 20), ("m2se-pretrained", 10), ("freshet-time-buckets", 22), ("popularity", 0)]
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
