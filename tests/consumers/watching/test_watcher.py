from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from consumers.runner import OffsetOwner, Runner, RunnerSettings
from consumers.sampling import is_sampled
from consumers.watching.watcher import WatcherRole, WatcherSettings
from models.registry.bundle import DataSpan, Manifest
from monitoring.metrics import Metrics
from stream.admission import MAX_AHEAD_MS
from stream.embedded.log import EmbeddedLog
from stream.events import Interaction, encode
from stream.log import Message, Record
from stream.topics import topics
from tests.waiting import wait_until

ITEMS = [f"i{number}" for number in range(12)]


class FakeModel:
    """Puts i0 first, whatever the sequence."""

    def __init__(self, version: str, trained_to: int) -> None:
        self.manifest = Manifest(
            created_ms=0,
            config={},
            tower_revisions={},
            data=DataSpan(offsets={0: trained_to}),
            seed=0,
            code_version="",
            version=version,
        )

    def scores(
        self, sequences: Sequence[Sequence[str]], times_ms: Sequence[Sequence[int]]
    ) -> tuple[NDArray[np.float32], list[str]]:
        self.asked_ms = [list(times) for times in times_ms]
        return np.tile(-np.arange(12, dtype=np.float32), (len(sequences), 1)), ITEMS


class FakeSlot:
    def __init__(self, current: FakeModel | None = None, previous: FakeModel | None = None) -> None:
        self.model = current
        self.previous = previous

    def current(self) -> FakeModel | None:
        return self.model


class Bench:
    """A watcher of partition 0 and what its registry shows."""

    def __init__(self, slot: FakeSlot, settings: WatcherSettings | None = None) -> None:
        self.registry = CollectorRegistry()
        self.role = WatcherRole(slot, log_id="log", metrics=Metrics(self.registry), settings=settings)
        self.role.gained([0])

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"freshet_prequential_{name}", labels)


def record(offset: int, item_id: str, *, user_id: str = "ada", **fields: str) -> Record:
    event = Interaction(event_id=f"e{offset}", user_id=user_id, item_id=item_id, ts_ms=offset * 1_000, **fields)
    return Record("events", 0, offset, user_id.encode(), encode(event), 0)


def test_it_owns_its_offsets() -> None:
    assert isinstance(Bench(FakeSlot()).role, OffsetOwner)


def test_predictions_are_exported_by_source_and_protocol() -> None:
    bench = Bench(FakeSlot(FakeModel("v1", trained_to=0)))

    bench.role.handle([record(0, "i5"), record(1, "i0"), record(2, "i11", feed_id="f1")])

    organic = {"source": "organic", "protocol": "filtered"}
    assert bench.metric("recall_at_10", **organic) == 1.0
    assert bench.metric("mrr", **organic) == 1.0
    assert bench.metric("ndcg_at_10", source="exposed", protocol="filtered") == pytest.approx(1 / np.log2(11))
    assert bench.metric("recall_at_10", source="exposed", protocol="unfiltered") == 0.0
    assert bench.metric("events_total") == 2.0
    assert bench.metric("share_ratio") == 1.0


def test_the_model_is_told_when_each_item_came() -> None:
    model = FakeModel("v1", trained_to=0)

    Bench(FakeSlot(model)).role.handle([record(0, "i5"), record(1, "i0"), record(7, "i11")])

    assert model.asked_ms == [[0], [0, 1_000]]


def test_a_model_never_scores_an_event_it_was_trained_on() -> None:
    bench = Bench(FakeSlot(FakeModel("v1", trained_to=2)))

    bench.role.handle([record(0, "i5"), record(1, "i0")])
    bench.role.handle([record(2, "i1")])

    report = bench.role.report()
    assert report["n_unscored"] == 2
    assert bench.metric("unscored_total") == 2.0
    assert report["organic"]["model"]["filtered"]["n"] == 1


def test_while_the_current_model_is_ahead_the_previous_one_predicts() -> None:
    slot = FakeSlot(FakeModel("v2", trained_to=3), previous=FakeModel("v1", trained_to=0))
    bench = Bench(slot)

    bench.role.handle([record(0, "i5"), record(1, "i0"), record(2, "i1")])
    bench.role.handle([record(3, "i2")])

    assert bench.role.report()["n_by_version"] == {"v1": 2, "v2": 1}


def test_without_any_model_events_are_applied_and_count_as_unscored() -> None:
    slot = FakeSlot()
    bench = Bench(slot)
    bench.role.handle([record(0, "i5"), record(1, "i0")])

    slot.model = FakeModel("v1", trained_to=2)
    bench.role.handle([record(2, "i1")])

    report = bench.role.report()
    assert (report["n_unscored"], report["n_without_history"]) == (2, 0)
    assert report["organic"]["model"]["filtered"]["n"] == 1


def test_records_read_twice_change_nothing() -> None:
    bench = Bench(FakeSlot(FakeModel("v1", trained_to=0)))
    records = [record(0, "i5"), record(1, "i0"), record(2, "i7")]
    bench.role.handle(records)
    before = bench.role.report()

    bench.role.handle(records)

    assert bench.role.report() == before


def test_what_cannot_be_read_is_passed_over() -> None:
    bench = Bench(FakeSlot(FakeModel("v1", trained_to=0)))

    bench.role.handle(
        [record(0, "i5"), Record("events", 0, 1, b"ada", b"\xff", 0), record(2, "i1", kind="wave"), record(3, "i0")]
    )

    assert bench.role.positions() == {0: 4}
    assert bench.role.report()["organic"]["model"]["filtered"]["n"] == 1


def test_an_event_from_the_future_that_the_sequences_refuse_is_not_watched_either() -> None:
    bench = Bench(FakeSlot(FakeModel("v1", trained_to=0)))
    future = Interaction(event_id="e1", user_id="ada", item_id="i1", ts_ms=MAX_AHEAD_MS + 1)

    bench.role.handle([record(0, "i5"), Record("events", 0, 1, b"ada", encode(future), 0)])

    assert bench.role.positions() == {0: 2}
    assert "model" in bench.role.report()["organic"]
    assert bench.role.report()["organic"]["model"]["filtered"]["n"] == 0


def test_only_sampled_users_are_watched() -> None:
    bench = Bench(FakeSlot(FakeModel("v1", trained_to=0)), WatcherSettings(share=0.3))
    users = [f"u{number}" for number in range(50)]

    bench.role.handle([record(offset, "i5", user_id=user_id) for offset, user_id in enumerate(users)])

    assert bench.role.report()["n_users"] == sum(is_sampled(user_id, 0.3) for user_id in users)
    assert bench.role.positions() == {0: 50}
    assert bench.metric("share_ratio") == 0.3


def test_rivals_are_reported_when_asked_for() -> None:
    bench = Bench(FakeSlot(FakeModel("v1", trained_to=0)), WatcherSettings(has_rivals=True))

    bench.role.handle([record(0, "i5"), record(1, "i0"), record(2, "i7", user_id="bo"), record(3, "i0", user_id="bo")])

    organic = bench.role.report()["organic"]
    assert organic["model"]["filtered"]["n"] == 2
    assert organic["popularity"]["filtered"]["n"] == 2
    assert organic["cooccurrence"]["filtered"]["n"] == 2


def test_a_partition_lost_and_gained_again_starts_anew_and_others_go_on() -> None:
    bench = Bench(FakeSlot(FakeModel("v1", trained_to=0)))
    bench.role.handle([record(0, "i5")])
    assert bench.role.gained([0, 1]) == {0: 1, 1: 0}

    bench.role.lost([0])

    assert bench.role.positions() == {1: 0}
    assert bench.role.gained([0]) == {0: 0}


def watch_all(log: EmbeddedLog, slot: FakeSlot, n_events: int) -> dict[str, Any]:
    """Run a fresh watcher on the log until it has read everything."""
    metrics = Metrics(CollectorRegistry())
    role = WatcherRole(slot, log_id="log", metrics=metrics)
    runner = Runner(log, [role], metrics=metrics, settings=RunnerSettings(max_records=7, poll_s=0.01))
    runner.start()
    wait_until(lambda: sum(role.positions().values()) >= n_events)
    assert runner.stop(10) == []
    return role.report()


def test_a_restarted_watcher_reads_again_and_reports_the_same(tmp_path: Path) -> None:
    log = EmbeddedLog(tmp_path / "log.sqlite", topics())
    messages = [
        Message(record(n, f"i{n % 11}", user_id=f"u{n % 5}").key, record(n, f"i{n % 11}", user_id=f"u{n % 5}").value)
        for n in range(60)
    ]
    log.publish("events", messages).result(10)
    slot = FakeSlot(FakeModel("v1", trained_to=0))

    first, second = watch_all(log, slot, 60), watch_all(log, slot, 60)
    log.close()

    assert first["organic"]["model"]["unfiltered"]["n"] == 55  # all but each user's first
    assert first["organic"]["model"]["filtered"] == second["organic"]["model"]["filtered"]
    assert first["n_by_version"] == {"v1": 55}


@pytest.mark.parametrize(
    ("share", "has_rivals", "why"),
    [
        (0.0, False, r"share=0\.0 of users must be above 0 and at most 1"),
        (1.5, False, r"share=1\.5 of users must be above 0 and at most 1"),
        (0.5, True, r"share=0\.5 with rivals: they learn from every user, set share=1"),
    ],
)
def test_impossible_settings_are_refused(share: float, has_rivals: bool, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        WatcherSettings(share=share, has_rivals=has_rivals)
