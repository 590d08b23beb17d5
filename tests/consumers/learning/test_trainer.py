import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from consumers.learning.cycle import Cycle
from consumers.learning.cycle_settings import write_settings
from consumers.learning.plan import Plan
from consumers.learning.trainer import MAX_STARTS, TrainerLoop, main
from consumers.learning.training_buffer import TrainingBuffer
from models.registry.registry import Registry
from tests.clock import Clock
from tests.consumers.cycle_fixtures import N_ITEMS, Killed, KilledAfter, Reports, Shop

TOLD = threading.Event()  # set, so that no wait waits
TOLD.set()


class Bench:
    """A trainer loop and what it reports; `step` never waits."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.clock = Clock()
        self.reports = Reports()
        shop.lenient().folders.work.mkdir(parents=True, exist_ok=True)
        self.loop = TrainerLoop(shop.lenient(), self.reports.append, TOLD, clock=self.clock)

    def plan(self, name: str) -> Plan:
        return msgspec.json.decode((self.shop.root / "trainer" / name).read_bytes(), type=Plan)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.add_items(0, N_ITEMS)
    return shop


@pytest.fixture(scope="module")
def trained_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop after the first training on 200 events."""
    shop = Shop(tmp_path_factory.mktemp("shop") / "data")
    shop.add_items(0, N_ITEMS)
    shop.add_events(200)
    assert Bench(shop).loop.step()
    return shop.root


@pytest.fixture
def bench(trained_root: Path, tmp_path: Path) -> Bench:
    """The trained shop again, with a loop that starts on it."""
    return Bench(Shop(shutil.copytree(trained_root, tmp_path / "data")))


def test_first_training_waits_for_its_number_of_events(shop: Shop) -> None:
    bench = Bench(shop)
    shop.add_events(199)

    assert not bench.loop.step()
    assert bench.reports == []

    shop.add_events(1)

    assert bench.loop.step()
    assert (bench.reports[0].state, bench.reports[0].detail) == ("started", "first training")
    assert bench.reports[0].n_events == 200
    assert (bench.reports[-1].state, bench.reports[-1].cycle) == ("published", 1)
    assert bench.plan("last.json") == Plan(number=1, parent=None, offsets={0: 200}, n_fresh=200, log_id="log-1")
    assert not (shop.root / "trainer" / "plan.json").exists()


def test_cycle_starts_on_enough_fresh_events(bench: Bench) -> None:
    first = bench.shop.registry.versions()[0]
    bench.shop.add_events(59)
    assert not bench.loop.step()

    bench.shop.add_events(1)

    assert bench.loop.step()
    assert (bench.reports[0].cycle, bench.reports[0].detail) == (2, f"continues {first}")
    assert bench.plan("last.json") == Plan(number=2, parent=first, offsets={0: 260}, n_fresh=60, log_id="log-1")


def test_cycle_starts_on_time_with_at_least_some_fresh_events(bench: Bench) -> None:
    bench.shop.add_events(20)
    bench.clock.now_s += 599.0
    assert not bench.loop.step()

    bench.clock.now_s += 1.0

    assert bench.loop.step()
    assert bench.reports[-1].cycle == 2


def test_time_alone_never_starts_a_cycle(bench: Bench) -> None:
    bench.shop.add_events(19)
    bench.clock.now_s += 1e6

    assert not bench.loop.step()


def test_time_counts_from_the_end_of_the_last_cycle(bench: Bench) -> None:
    bench.shop.add_events(60)
    bench.clock.now_s += 599.0
    assert bench.loop.step()
    bench.shop.add_events(20)
    bench.clock.now_s += 1.0

    assert not bench.loop.step()


def test_refused_cycle_is_not_run_again_on_the_same_events(bench: Bench) -> None:
    bench.shop.registry.promote(bench.shop.registry.versions()[0], by="operator", reason="by hand")
    bench.shop.add_events(60)
    assert bench.loop.step()

    assert not bench.loop.step()


def test_failed_cycle_is_reported_and_tried_again(bench: Bench) -> None:
    first = bench.shop.registry.versions()[0]
    weights = bench.shop.registry.path(first) / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(b"half a file")
    bench.shop.add_events(60)

    assert bench.loop.step()
    weights.write_bytes(whole)
    assert bench.loop.step()

    assert [event.state for event in bench.reports if event.state != "progress"] == [
        "started",
        "failed",
        "started",
        "published",
    ]
    failed = bench.reports[1]
    assert failed.cycle == 2
    assert failed.detail.startswith("DamagedBundle: model bundle ")
    assert "model.safetensors does not match its checksum" in failed.detail


def test_damaged_pointer_is_reported_and_survived(bench: Bench) -> None:
    pointer = bench.shop.root / "registry" / "current.json"
    pointer.write_bytes(b"{")
    bench.shop.add_events(60)

    assert bench.loop.step()

    assert [event.state for event in bench.reports] == ["failed"]
    assert "freshet models promote VERSION" in bench.reports[0].detail


def test_open_plan_of_a_killed_trainer_is_run_as_it_was_written(bench: Bench) -> None:
    first = bench.shop.registry.versions()[0]
    bench.shop.add_events(60)
    plan = Plan(number=2, parent=first, offsets={0: 230}, n_fresh=30)
    (bench.shop.root / "trainer" / "plan.json").write_bytes(msgspec.json.encode(plan))

    assert bench.loop.step()

    version = bench.reports[-1].version or ""
    assert bench.shop.registry.manifest(version).data.offsets == {0: 230}
    assert bench.plan("last.json") == plan


def die_at(bench: Bench, monkeypatch: pytest.MonkeyPatch, *, of: type, step: str) -> None:
    """Run the step that is due, and have the process die before this call of it."""

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(of, step, die)
        with pytest.raises(Killed):
            bench.loop.step()


@pytest.mark.parametrize(("of", "step"), [(Registry, "promote"), (Registry, "prune"), (Cycle, "forget")])
def test_trainer_killed_after_it_published_settles_that_version(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, of: type, step: str
) -> None:
    registry, first = bench.shop.registry, bench.shop.registry.versions()[0]
    bench.shop.add_events(60)
    die_at(bench, monkeypatch, of=of, step=step)
    _, published = registry.versions()
    again = Bench(bench.shop)

    assert again.loop.step() == (step != "forget")  # that was all but closed

    assert registry.versions() == [first, published]
    current = registry.current()
    assert current is not None
    assert current.version == published
    assert registry.refusals() == []
    if step != "forget":
        assert again.reports.details[1] == f"{published} was published already"
        assert (again.reports[-1].state, again.reports[-1].version) == ("published", published)
    assert [path.name for path in (bench.shop.root / "trainer").iterdir()] == ["last.json"]


def start_and_die(bench: Bench, *, times: int) -> None:
    for _ in range(times):
        loop = TrainerLoop(bench.shop.lenient(), KilledAfter("continues").append, TOLD, clock=bench.clock)
        with pytest.raises(Killed):
            loop.step()


def test_plan_that_kills_every_trainer_is_dropped_as_failed_and_made_anew(bench: Bench) -> None:
    bench.shop.add_events(60)
    start_and_die(bench, times=MAX_STARTS)
    bench.shop.add_events(1)

    assert bench.loop.step()

    assert [(event.state, event.cycle) for event in bench.reports] == [("failed", 2)]
    assert bench.reports[0].detail == (
        "TrainerLost: cycle 2 was started 10 times and its trainer never lived to the end of it; what it died of "
        "stands in the log of its process, or in the system's where memory ran out"
    )
    assert bench.loop.step()
    assert bench.reports[-1].state == "published"
    assert bench.plan("last.json").offsets == {0: 261}


def test_plan_of_a_trainer_killed_again_and_again_is_still_run_to_its_end(bench: Bench) -> None:
    bench.shop.add_events(60)
    start_and_die(bench, times=MAX_STARTS - 1)

    assert bench.loop.step()

    assert [event.state for event in bench.reports if event.state != "progress"] == ["started", "published"]
    assert bench.plan("last.json").n_starts == 0


def test_of_a_log_that_replaced_its_own_everything_is_fresh(bench: Bench) -> None:
    shop, first = bench.shop, bench.shop.registry.versions()[0]
    shutil.rmtree(shop.root / "segments")
    shop.buffer = TrainingBuffer(shop.root / "segments", "log-2")
    shop.add_items(0, N_ITEMS)
    shop.add_events(80)
    loop = TrainerLoop(replace(shop.lenient(), log_id="log-2"), bench.reports.append, TOLD, clock=bench.clock)

    assert loop.step()

    assert (bench.reports[0].detail, bench.reports[0].n_events) == (f"continues {first}", 80)
    assert bench.reports[-1].state == "published"
    assert shop.registry.manifest(bench.reports[-1].version or "").data.log_id == "log-2"
    assert not loop.step()


def test_damaged_plan_is_made_again(bench: Bench) -> None:
    bench.shop.add_events(60)
    (bench.shop.root / "trainer" / "plan.json").write_bytes(b"{")

    assert bench.loop.step()

    assert bench.plan("last.json").offsets == {0: 260}


def test_without_a_pointer_a_first_model_learns_from_everything_again(bench: Bench) -> None:
    (bench.shop.root / "registry" / "current.json").unlink()

    assert bench.loop.step()

    assert bench.reports[0].detail == "first training"
    assert bench.plan("last.json") == Plan(number=2, parent=None, offsets={0: 200}, n_fresh=200, log_id="log-1")


def test_start_removes_what_a_killed_trainer_left_in_the_registry(shop: Shop) -> None:
    stage = shop.registry.stage()
    (stage / "model.safetensors").write_bytes(b"half a file")
    os.utime(stage, (0.0, 0.0))

    TrainerLoop(shop.settings(), Reports().append, TOLD).run()

    assert not stage.exists()


def test_wrong_call_says_how_to_call_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err == "usage: python -m consumers.learning.trainer SETTINGS.json\n"


def test_trainer_ends_when_its_standard_input_closes(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    write_settings(path, shop.settings())
    command = [sys.executable, "-m", "consumers.learning.trainer", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        child.stdin.close()
        code = child.wait(60.0)

    assert code == 0
