import re
from dataclasses import replace
from pathlib import Path

import pytest

from freshet.cli import main
from freshet.evaluation.command import EvaluateOptions
from freshet.evaluation.data import EvaluationError
from models.evaluation.splits import SplitError
from tests.freshet.evaluation.running import run
from tests.freshet.evaluation.small_shop import START_S, write_shop_of_one_item


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


def test_validation_that_can_rank_nothing_is_refused_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = write_shop_of_one_item(tmp_path / "shop")
    command = ["evaluate", "--data", str(shop), "--runs", str(tmp_path / "runs"), "--model", "sasrec", "--seeds", "1"]

    assert main(command) == 1
    assert "freshet: none of 10 validation events can be ranked: each is of an item that its" in capsys.readouterr().err
