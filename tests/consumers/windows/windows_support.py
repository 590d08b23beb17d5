"""Traffic, logs and runners for tests of attribution windows."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from consumers.runner import Runner, RunnerSettings
from consumers.windows.role import windows_role
from consumers.windows.windows import Windows
from monitoring.metrics import Metrics
from stream.embedded.log import EmbeddedLog
from stream.events import ArmCount, Exposure, Interaction, Outcome, decode_outcome, encode
from stream.kinds import DEFAULT_KINDS
from stream.log import Message
from stream.partition import partition_of
from stream.topics import EVENTS, EXPOSURES, OUTCOMES
from stream.windows.attribution import AttributionSettings
from tests.consumers.store_support import DEADLINE_S, N_PARTITIONS, new_metrics, open_log, value
from tests.waiting import wait_until

RULES = AttributionSettings(window_ms=100_000, lateness_ms=10_000)
LATER_MS = 100_000_000  # closes whatever came before
FOREVER_S = 1e6


def shown(feed_id: str, ts_ms: int, *item_ids: str, user: str = "ada", **facts: object) -> Exposure:
    return Exposure(feed_id=feed_id, user_id=user, ts_ms=ts_ms, item_ids=item_ids, **facts)  # type: ignore[arg-type]


def click(event_id: str, ts_ms: int, item_id: str, user: str = "ada", kind: str = "click") -> Interaction:
    return Interaction(event_id=event_id, user_id=user, item_id=item_id, ts_ms=ts_ms, kind=kind)


def publish(log: EmbeddedLog, records: Sequence[Exposure | Interaction]) -> None:
    for topic, kind in ((EVENTS, Interaction), (EXPOSURES, Exposure)):
        chosen = [record for record in records if isinstance(record, kind)]
        messages = [Message(record.user_id.encode(), encode(record)) for record in chosen]
        log.publish(topic, messages).result(DEADLINE_S)


def closers(ts_ms: int = LATER_MS) -> list[Exposure | Interaction]:
    """A later record in every partition of both topics."""
    users = {partition_of(user.encode(), N_PARTITIONS): user for user in (f"closer-{n}" for n in range(20))}
    assert len(users) == N_PARTITIONS
    events = [click(f"closer-{user}-{ts_ms}", ts_ms, "none", user=user) for user in users.values()]
    return [*events, *(shown(f"closer-{user}-{ts_ms}", ts_ms, "other", user=user) for user in users.values())]


def outcomes(log: EmbeddedLog) -> list[Outcome]:
    found = []
    for partition in range(N_PARTITIONS):
        reader = log.reader(OUTCOMES, partitions=[partition])
        while records := reader.poll(max_records=500, timeout_s=0):
            found += [decode_outcome(record.value) for record in records]
        reader.close()
    return found


def new_windows(log: EmbeddedLog, folder: Path, metrics: Metrics | None = None, **changes: object) -> Windows:
    options = {"settings": RULES, "metrics": metrics or new_metrics(), "idle_s": FOREVER_S} | changes
    return Windows(folder / "windows", log, **options)  # type: ignore[arg-type]


@contextmanager
def running(log: EmbeddedLog, windows: Windows, *, max_records: int = 2_000) -> Iterator[None]:
    roles = [windows_role(windows, topic, kinds=DEFAULT_KINDS) for topic in (EVENTS, EXPOSURES)]
    runner = Runner(log, roles, metrics=windows.metrics, settings=RunnerSettings(poll_s=0.02, max_records=max_records))
    runner.start()
    try:
        yield
    finally:
        assert runner.stop(DEADLINE_S) == []


def all_read(log: EmbeddedLog, windows: Windows) -> bool:
    return all(windows.positions(topic) == log.ends(topic) for topic in (EVENTS, EXPOSURES))


def run_through(log: EmbeddedLog, windows: Windows, **options: int) -> None:
    with running(log, windows, **options):
        wait_until(lambda: all_read(log, windows), "all read")


def some_traffic(n_feeds: int = 60, seed: int = 3) -> list[Exposure | Interaction]:
    rng = random.Random(seed)
    records: list[Exposure | Interaction] = []
    for feed in range(n_feeds):
        user, ts_ms = f"user-{rng.randrange(7)}", 1_000_000 + 20_000 * feed
        items = [f"item-{rng.randrange(9)}" for _ in range(4)]
        records.append(
            shown(f"feed-{feed}", ts_ms, *dict.fromkeys(items), user=user, experiment="x", arm="ab"[feed % 2])
        )
        for n in range(3):
            event_ms = ts_ms + rng.randrange(150_000)
            records.append(
                click(f"e-{feed}-{n}", event_ms, rng.choice(items), user=user, kind=rng.choice(["click", "like"]))
            )
    return sorted(records, key=lambda record: record.ts_ms)


def expected(tmp_path: Path, records: Sequence[Exposure | Interaction]) -> tuple[dict[str, Outcome], list[ArmCount]]:
    """Outcomes and arms of a run without interruption, on a log of its own that holds everything from the start."""
    folder = tmp_path / "expected"
    folder.mkdir()
    metrics = new_metrics()
    with open_log(folder) as log:
        publish(log, [*records, *closers()])
        windows = new_windows(log, folder, metrics)
        run_through(log, windows)
        found = outcomes(log)
        assert len(found) == len({outcome.outcome_id for outcome in found})
        assert not value(metrics, "windows_late_total", {"topic": EVENTS})
        assert not value(metrics, "windows_late_total", {"topic": EXPOSURES})
        return {outcome.outcome_id: outcome for outcome in found}, windows.arms()
