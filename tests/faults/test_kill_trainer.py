"""kill -9 of the trainer inside a cycle, and the ways its parent can go away."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from consumers.learning.cycle_events import CycleEvent
from consumers.learning.cycle_settings import CycleSettings, write_settings
from models.encoder.config import TrainingConfig
from tests.consumers.cycle_fixtures import N_ITEMS, Shop
from tests.faults.process import DEADLINE_S, ROOT, environment
from tests.models.encoder_fixtures import are_equal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

EPOCHS = TrainingConfig(pretrain_epochs=2, finetune_epochs=2, batch_size=16, finetune_lr=1e-3)


class Trainer:
    """`python -m consumers.learning.trainer` on a shop, and what it reports."""

    def __init__(self, shop: Shop) -> None:
        path = shop.root / "trainer" / "settings.json"
        write_settings(path, patient(shop))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "consumers.learning.trainer", str(path)],
            cwd=ROOT,
            env=environment({}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def wait_for(self, state: str, detail: str = "") -> CycleEvent:
        """The first report from now on of this state that begins with `detail`; the test's own timeout bounds it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            report = msgspec.json.decode(line, type=CycleEvent)
            if report.state == state and report.detail.startswith(detail):
                return report
        raise AssertionError(f"it ended with {self.process.wait(DEADLINE_S)} before it reported {state} {detail}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE_S)

    def end(self) -> int:
        """Close its standard input, as the death of a parent does; its exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(DEADLINE_S)


def patient(shop: Shop) -> CycleSettings:
    """Two epochs of each kind; the gate lets nearly everything pass."""
    settings = shop.lenient()
    return replace(settings, first=EPOCHS, cycle=replace(EPOCHS, distillation_weight=0.5))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Enough for a first training."""
    shop = Shop(tmp_path / "shop")
    shop.add_items(0, N_ITEMS)
    shop.add_events(300)
    return shop


@pytest.fixture
def trainers() -> Iterator[list[Trainer]]:
    """Those started in a test; none outlives it."""
    started: list[Trainer] = []
    yield started
    for trainer in started:
        trainer.kill()
        for pipe in (trainer.process.stdin, trainer.process.stdout, trainer.process.stderr):
            assert pipe is not None
            pipe.close()


def train(shop: Shop, trainers: list[Trainer]) -> str:
    """Run a trainer until it published; the version."""
    trainers.append(Trainer(shop))
    published = trainers[-1].wait_for("published")
    assert trainers[-1].end() == 0
    assert published.version is not None
    return published.version


def train_killed(shop: Shop, trainers: list[Trainer], detail: str) -> str:
    """Kill a trainer right after this report, start another and wait until that one published; the version."""
    trainers.append(Trainer(shop))
    trainers[-1].wait_for("progress", detail)
    trainers[-1].kill()
    trainers.append(Trainer(shop))
    assert trainers[-1].wait_for("resumed").detail.startswith("after ")
    published = trainers[-1].wait_for("published")
    assert trainers[-1].end() == 0
    assert published.version is not None
    return published.version


@pytest.mark.parametrize("detail", ["pretrain epoch 1/2", "finetune epoch 1/2"])
def test_first_training_killed_after_an_epoch_resumes_and_gives_the_same_model(
    shop: Shop, trainers: list[Trainer], tmp_path: Path, detail: str
) -> None:
    shutil.copytree(shop.root, tmp_path / "killed")
    killed = Shop(tmp_path / "killed")
    resumed = killed.weights(train_killed(killed, trainers, detail))
    assert are_equal(resumed, shop.weights(train(shop, trainers)))
    assert len(killed.registry.versions()) == 1
    assert sorted(path.name for path in (killed.root / "trainer").iterdir()) == ["last.json", "settings.json"]


def test_cycle_killed_after_an_epoch_resumes_and_gives_the_same_model(
    shop: Shop, trainers: list[Trainer], tmp_path: Path
) -> None:
    first = train(shop, trainers)
    shop.add_events(100)
    shutil.copytree(shop.root, tmp_path / "killed")
    killed = Shop(tmp_path / "killed")
    resumed = train_killed(killed, trainers, "pretrain epoch 1/2")
    uninterrupted = train(shop, trainers)
    assert killed.registry.manifest(resumed).parent == shop.registry.manifest(uninterrupted).parent == first
    assert are_equal(killed.weights(resumed), shop.weights(uninterrupted))


def test_trainer_that_nobody_listens_to_ends_and_keeps_its_plan(shop: Shop, trainers: list[Trainer]) -> None:
    trainer = Trainer(shop)
    trainers.append(trainer)
    trainer.wait_for("started")
    assert trainer.process.stdout is not None
    trainer.process.stdout.close()  # before its standard input, as may happen when a parent is killed
    assert trainer.process.wait(DEADLINE_S) == 0
    assert trainer.process.stderr is not None
    assert trainer.process.stderr.read() == b""
    assert (shop.root / "trainer" / "plan.json").exists()


def test_files_that_a_kill_left_half_written_are_removed_at_the_next_start(shop: Shop, trainers: list[Trainer]) -> None:
    work = shop.root / "trainer"
    work.mkdir()
    for name in (".plan.json.1a2b.tmp", ".cycle-000001-1a2b.safetensors.3c4d.tmp"):
        (work / name).write_bytes(b"half")
    train(shop, trainers)
    assert list(work.glob(".*")) == []
