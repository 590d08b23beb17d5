import csv
import io
import json
import re
import subprocess
import sys
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from freshet.cli import main
from freshet.evaluation.data import EvaluationError
from freshet.fitting.fit import FitOptions, fit
from models.encoder.checkpoint import BadCheckpoint
from models.encoder.config import TimedShape
from models.encoder_scorer import load_model
from models.registry.registry import Registry
from models.towers.building import TowerConfig
from stream.kinds import DEFAULT_KINDS
from tests.freshet.evaluation.small_shop import write_shop, write_shop_of_one_item, write_shop_of_texts
from tests.freshet.terminal import Terminal
from tests.models.tower_fixtures import write_tiny_bert


@pytest.fixture
def shop(tmp_path: Path) -> str:
    return str(write_shop(tmp_path / "shop"))


def registry_of(data_dir: Path) -> Registry:
    return Registry(data_dir / "registry")


def pretrain(shop: str, data_dir: Path, *, n_epochs: int = 2) -> str:
    fit(FitOptions("pretrain", shop, data_dir, n_epochs=n_epochs), kinds=DEFAULT_KINDS)
    return registry_of(data_dir).versions()[-1]


def test_a_pretrained_model_knows_content_alone_and_a_fine_tuned_one_ids(shop: str, tmp_path: Path) -> None:
    first = pretrain(shop, tmp_path)
    fit(FitOptions("finetune", shop, tmp_path, n_epochs=1), kinds=DEFAULT_KINDS)

    registry = registry_of(tmp_path)
    pretrained, finetuned = (registry.open(version) for version in registry.versions())
    assert load_model(pretrained)[1] == ()
    assert sorted(load_model(finetuned)[1]) == sorted(f"item-{n}" for n in range(12))
    assert (finetuned.manifest.parent, finetuned.manifest.tower_revisions) == (
        first,
        pretrained.manifest.tower_revisions,
    )
    assert finetuned.manifest.metrics.keys() == {"ndcg_at_10"}
    assert registry.current() is None


def test_card_and_curve_lie_beside_the_bundle(shop: str, tmp_path: Path) -> None:
    version = pretrain(shop, tmp_path)

    bundle = registry_of(tmp_path).path(version)
    card = bundle.with_name(f"{version}.md").read_text()
    points = json.loads(bundle.with_name(f"{version}.json").read_text())
    rows = list(csv.DictReader(bundle.with_name(f"{version}.csv").read_text().splitlines()))
    assert card.startswith(f"# {version}\n\nM2SE, a multimodal sequence encoder")
    assert "| data | shop, 80 events, 12 items |" in card
    assert [point["epoch"] for point in points] == [1, 2]
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert points[1].keys() == rows[1].keys() == {"epoch", "loss", "n_targets", "seconds", "ndcg_at_10", "validation"}


class KilledAt(io.StringIO):
    """Standard error that interrupts the program once a line of it starts so."""

    def __init__(self, start: str) -> None:
        super().__init__()
        self._start = start

    def write(self, text: str) -> int:
        if text.startswith(self._start):
            raise KeyboardInterrupt
        return super().write(text)


def test_a_killed_training_goes_on_after_its_last_epoch_and_ends_with_the_same_weights(
    shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    undisturbed = pretrain(shop, tmp_path / "undisturbed", n_epochs=3)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", KilledAt("epoch 2: "))
        with pytest.raises(KeyboardInterrupt):
            pretrain(shop, tmp_path / "killed", n_epochs=3)
    (checkpoint,) = (tmp_path / "killed" / "fitting").glob("*.safetensors")
    checkpoint.with_name(f".{checkpoint.name}.0123.tmp").write_bytes(b"half")
    resumed = pretrain(shop, tmp_path / "killed", n_epochs=3)

    assert "resumed after epoch 2\nepoch 3: " in capsys.readouterr().err
    weights = [
        (registry_of(tmp_path / name).path(version) / "model.safetensors").read_bytes()
        for name, version in (("undisturbed", undisturbed), ("killed", resumed))
    ]
    assert weights[0] == weights[1]
    assert list((tmp_path / "killed" / "fitting").iterdir()) == []


def test_an_epoch_is_a_bar_on_a_terminal_and_a_line_once_it_is_done(shop: str, tmp_path: Path) -> None:
    with redirect_stderr(Terminal()) as terminal:
        pretrain(shop, tmp_path)

    bars = [line for line in terminal.drawn if line.startswith("epoch [")]
    assert sum("] 0/63 targets, " in line for line in bars) == 2
    assert all("/63 targets, " in line for line in bars)  # of 70, less what item drop takes
    assert [line.split(":")[0] for line in terminal.lines if line.startswith("epoch ")] == ["epoch 1", "epoch 2"]
    assert terminal.lines[-1] == ""


def test_fine_tuning_is_stopped_by_held_out_events_also_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop, data_dir = str(write_shop(tmp_path / "many", n_users=600, n_events=4)), tmp_path / "kept"
    pretrain(shop, data_dir, n_epochs=1)
    options = FitOptions("finetune", shop, data_dir)
    fit(options, kinds=DEFAULT_KINDS)
    once = registry_of(data_dir).path(registry_of(data_dir).versions()[-1])
    curve = json.loads(once.with_name(f"{once.name}.json").read_text())
    scores = [point["validation"] for point in curve]
    best = scores.index(max(scores)) + 1
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", KilledAt(f"epoch {best + 1}: "))
        with pytest.raises(KeyboardInterrupt):
            fit(options, kinds=DEFAULT_KINDS)
    fit(options, kinds=DEFAULT_KINDS)

    resumed = registry_of(data_dir).path(registry_of(data_dir).versions()[-1])
    assert len(curve) == best + 5 < 20
    assert f"After epoch {best}: loss " in once.with_name(f"{once.name}.md").read_text()
    assert "\nepoch 1: loss " in (said := capsys.readouterr().err)
    assert f", validation NDCG@10 {scores[0]:.4f}, NDCG@10 {curve[0]['ndcg_at_10']:.4f} (" in said
    assert once != resumed
    assert (once / "model.safetensors").read_bytes() == (resumed / "model.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_torchrun_trains_on_two_processes_of_which_one_publishes_and_speaks(shop: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "freshet"]
    asked = ["pretrain", "--data", shop, "--data-dir", str(tmp_path / "kept"), "--epochs", "2"]

    done = subprocess.run([*command, *asked], capture_output=True, text=True, timeout=280, check=False)

    assert done.returncode == 0, done.stderr
    assert [done.stderr.count(f"epoch {number}: loss ") for number in (1, 2)] == [1, 1]
    assert done.stdout.count("published v00000") == 1
    registry = registry_of(tmp_path / "kept")
    assert len(registry.versions()) == 1
    assert load_model(registry.open(registry.versions()[0]))[1] == ()
    assert list((tmp_path / "kept" / "fitting").iterdir()) == []


def test_fine_tuning_wants_a_pretrained_parent(shop: str, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"has no pretrained version; make one with `freshet pretrain`"):
        fit(FitOptions("finetune", shop, tmp_path), kinds=DEFAULT_KINDS)

    first = pretrain(shop, tmp_path, n_epochs=1)
    fit(FitOptions("finetune", shop, tmp_path, n_epochs=1), kinds=DEFAULT_KINDS)
    second = registry_of(tmp_path).versions()[-1]
    with pytest.raises(EvaluationError, match=rf"--parent {second} is no pretrained version; there are {first}"):
        fit(FitOptions("finetune", shop, tmp_path, parent=second), kinds=DEFAULT_KINDS)


def test_pretraining_takes_the_towers_that_are_set_and_fine_tuning_its_parents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop, folder = str(write_shop_of_texts(tmp_path / "texts")), str(tmp_path / "kept")
    asked = ["--data", shop, "--data-dir", folder, "--epochs", "1"]

    monkeypatch.setenv("FRESHET_TEXT_TOWER", "tfidf")
    assert main(["pretrain", *asked]) == 0
    monkeypatch.setenv("FRESHET_TEXT_TOWER", "/no/such/folder")
    assert main(["finetune", *asked]) == 0
    assert main(["pretrain", *asked]) == 1

    first, second = registry_of(tmp_path / "kept").manifests()
    said = capsys.readouterr().err
    assert first.tower_revisions["text"].startswith("tfidf-")
    assert second.tower_revisions == first.tower_revisions
    assert f"content towers: those of {first.version}, whatever the settings name\n" in said
    assert said.endswith(
        "freshet: no model in folder '/no/such/folder': config.json and *.safetensors are wanted there\n"
    )


def test_pretraining_takes_the_shape_that_is_set_and_fine_tuning_its_parents(
    shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["--data", shop, "--data-dir", str(tmp_path), "--epochs", "1"]

    assert main(["pretrain", *asked]) == 0
    monkeypatch.setenv("FRESHET_TIME_BUCKETS", "false")
    assert main(["finetune", *asked]) == 0

    encoders = [one.config["encoder"] for one in registry_of(tmp_path).manifests()]
    assert [(encoder["window"], encoder["n_time_buckets"]) for encoder in encoders] == [(50, 32)] * 2


def test_without_an_event_that_can_be_ranked_no_figure_is_published(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version = pretrain(str(write_shop_of_one_item(tmp_path / "shop")), tmp_path, n_epochs=1)

    bundle = registry_of(tmp_path).path(version)
    (point,) = json.loads(bundle.with_name(f"{version}.json").read_text())
    said = capsys.readouterr().err
    assert json.loads((bundle / "manifest.json").read_text())["metrics"] == {}
    assert point["ndcg_at_10"] is None
    assert (
        "no NDCG@10: none of the last events of users could be ranked" in bundle.with_name(f"{version}.md").read_text()
    )
    assert (
        said.count("NDCG@10") == said.count("no NDCG@10: none of the last events of users could be ranked; each") == 1
    )


@pytest.mark.parametrize("seed", [-1, 4_294_967_296])
def test_a_seed_that_generators_do_not_take_is_refused(seed: int, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=rf"--seed {seed} must be at least 0 and at most 4294967295"):
        FitOptions("pretrain", None, tmp_path, seed=seed)


@pytest.mark.parametrize(
    ("kept", "reason"),
    [
        ('[{"epoch": 1', r"cannot be read \(Input data was truncated\); delete it to train from the first epoch again"),
        ("[]", r"has 0 of 1 epochs; delete it to train from the first again"),
    ],
)
def test_a_damaged_curve_of_a_killed_training_is_named_with_the_way_out(
    kept: str, reason: str, shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", KilledAt("epoch 1: "))
        with pytest.raises(KeyboardInterrupt):
            pretrain(shop, tmp_path)
    (curve,) = (tmp_path / "fitting").glob("*.json")
    curve.write_text(kept)

    with pytest.raises(BadCheckpoint, match=rf"curve {re.escape(str(curve))} {reason}"):
        pretrain(shop, tmp_path)
    curve.unlink()
    pretrain(shop, tmp_path)

    assert len(registry_of(tmp_path).versions()) == 1


def test_a_killed_training_is_not_resumed_with_other_towers_nor_in_another_shape(
    shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", KilledAt("epoch 1: "))
        with pytest.raises(KeyboardInterrupt):
            pretrain(shop, tmp_path)
    other = TowerConfig(text="tfidf")
    fit(FitOptions("pretrain", shop, tmp_path, n_epochs=2, towers=other), kinds=DEFAULT_KINDS)
    timed = TimedShape(n_time_buckets=8)
    fit(FitOptions("pretrain", shop, tmp_path, n_epochs=2, shape=timed), kinds=DEFAULT_KINDS)
    assert "resumed" not in capsys.readouterr().err

    pretrain(shop, tmp_path)
    assert "resumed after epoch 1\n" in capsys.readouterr().err


def test_a_training_killed_before_its_towers_changed_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop, text = str(write_shop_of_texts(tmp_path / "texts")), write_tiny_bert(tmp_path / "bert")
    options = FitOptions("pretrain", shop, tmp_path, n_epochs=2, towers=TowerConfig(text=str(text)))
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", KilledAt("epoch 1: "))
        with pytest.raises(KeyboardInterrupt):
            fit(options, kinds=DEFAULT_KINDS)
    write_tiny_bert(text, seed=1)

    fit(options, kinds=DEFAULT_KINDS)

    assert "resumed" not in capsys.readouterr().err
    assert len(registry_of(tmp_path).versions()) == 1


def test_a_damaged_checkpoint_of_a_killed_training_is_named_with_the_way_out(
    shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", KilledAt("epoch 1: "))
        with pytest.raises(KeyboardInterrupt):
            pretrain(shop, tmp_path)
    (checkpoint,) = (tmp_path / "fitting").glob("*.safetensors")
    checkpoint.write_bytes(b"half")

    with pytest.raises(
        BadCheckpoint,
        match=rf"checkpoint {re.escape(str(checkpoint))} cannot be used: .*; delete it to train from the first epoch",
    ):
        pretrain(shop, tmp_path)


def test_the_commands_fit_into_the_data_folder(shop: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "kept")
    with (Path(shop) / "interactions.csv").open("a") as events:
        events.write("user-0,gone,1748766000\n")

    assert main(["pretrain", "--data", shop, "--data-dir", folder, "--epochs", "1"]) == 0
    assert main(["finetune", "--data", shop, "--data-dir", folder, "--epochs", "1", "--seed", "3"]) == 0
    assert main(["pretrain", "--data", shop, "--data-dir", folder, "--epochs", "0"]) == 1

    said = capsys.readouterr()
    assert said.out.count("published v00000") == 2
    assert said.out.count(f" --data-dir {folder}` makes it the current model\n") == 2
    assert said.err.count("1 events are of items that the data set does not have, or not yet\n") == 2
    assert said.err.endswith("freshet: --epochs 0 must be at least 1\n")
