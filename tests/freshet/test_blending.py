"""Who learns the memory and the blend, who follows them, and that feeds are made from them."""

import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client import CollectorRegistry

from consumers.runner import Runner
from freshet.blending import Blending
from freshet.service import Service
from freshet.settings import RoleName, Settings
from models.ranker import Ranker
from models.slot import ModelSlot
from monitoring.metrics import Metrics
from stream.embedded.log import EmbeddedLog
from stream.events import Interaction, encode
from stream.log import Log, Message
from stream.topics import CONTROL, EVENTS, TRANSITIONS, topics
from tests.models.encoder_fixtures import N_ITEMS, small_content
from tests.models.ranker_fixtures import small_ranker
from tests.serving.world import AppClient

DEADLINE_S = 30.0
NOW_MS = time.time_ns() // 1_000_000 - 60_000


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    log = EmbeddedLog(tmp_path / "log.sqlite", topics(1))
    yield log
    log.close()


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        (["feeds", "learning", "watching"], ["memory", "blend"]),
        (["watching"], ["memory", "blend"]),
        (["feeds"], ["transitions", "blend"]),
        (["learning"], []),
    ],
)
def test_who_watches_learns_and_who_makes_feeds_follows(
    log: EmbeddedLog, tmp_path: Path, roles: list[RoleName], expected: list[str]
) -> None:
    settings = Settings(data_dir=tmp_path, blend=True, log="kafka://broker:9092", roles=roles)

    blending = Blending(settings, log, Metrics(CollectorRegistry()), slot=ModelSlot())

    assert [role.name for role in blending.roles()] == expected


def test_one_process_on_the_embedded_log_learns_and_follows_nobody(log: EmbeddedLog, tmp_path: Path) -> None:
    blending = Blending(Settings(data_dir=tmp_path, blend=True), log, Metrics(CollectorRegistry()), slot=ModelSlot())

    assert [role.name for role in blending.roles()] == ["memory"]


def test_switched_off_nothing_is_learned_and_feeds_ask_nobody(log: EmbeddedLog, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, blend=False)

    blending = Blending(settings, log, Metrics(CollectorRegistry()), slot=ModelSlot())

    assert blending.roles() == []
    assert blending.live() is None
    assert blending.report() is None


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """One that learns the blend from every user, and never trains."""
    service = Service(Settings(data_dir=tmp_path, blend=True, blend_share=1.0, partitions=1, first_events=10**9))
    service.slot.swap(_ranker())
    service.start()
    yield service
    service.close()


def test_feeds_are_blended_once_enough_events_were_learned_from(service: Service) -> None:
    with AppClient(service.app()) as client:
        assert _session_feed(client)["blend"] is None

        _stream_until(service.log, lambda: _session_feed(client)["items"][0]["brought_by"] == "memory")
        feed = _session_feed(client)

    assert feed["blend"] is not None
    assert feed["items"][0]["item_id"] == "item-1"
    assert service.log.ends(TRANSITIONS) == {0: 0}, "nobody else reads the embedded log"
    assert service.log.ends(CONTROL) == {0: 0}


def test_a_process_that_only_makes_feeds_blends_by_what_another_learned(log: EmbeddedLog, tmp_path: Path) -> None:
    learner, follower = (_started(log, tmp_path, role) for role in ("watching", "feeds"))
    live = follower.blending.live()
    assert live is not None

    _stream_until(log, lambda: live.beside("v1") is not None)
    for process in (learner, follower):
        process.runner.stop(DEADLINE_S)

    beside = live.beside("v1")
    assert beside is not None
    scores = beside.memory.scores(["item-4"])
    assert beside.memory.numbers(["item-5"]).tolist() == [scores.argmax()]


class _Process(NamedTuple):
    blending: Blending
    runner: Runner


def _started(log: EmbeddedLog, folder: Path, role: RoleName) -> _Process:
    settings = Settings(data_dir=folder, log="kafka://broker:9092", roles=[role], blend=True, blend_share=1.0)
    metrics, slot = Metrics(CollectorRegistry()), ModelSlot()
    slot.swap(_ranker())
    blending = Blending(settings, log, metrics, slot=slot)
    runner = Runner(log, blending.roles(), metrics=metrics)
    runner.start()
    return _Process(blending, runner)


def _ranker() -> Ranker:
    ranker = small_ranker([f"item-{n}" for n in range(8)])
    ranker.add_items(small_content())
    return ranker


def _stream_until(log: Log, claim: Callable[[], bool]) -> None:
    """To everybody who chose an even item the next odd one comes."""
    deadline = time.monotonic() + DEADLINE_S
    for lot in count():
        if claim():
            return
        assert time.monotonic() < deadline, f"nothing is blended within {DEADLINE_S} s"
        log.publish(EVENTS, [_event(lot, item) for item in range(N_ITEMS)]).result(DEADLINE_S)


def _event(lot: int, item: int) -> Message:
    user_id = f"user-{lot}-{item // 2}"
    event = Interaction(
        event_id=f"e-{lot}-{item}", user_id=user_id, item_id=f"item-{item}", ts_ms=NOW_MS + 2_000 * item
    )
    return Message(user_id.encode(), encode(event))


def _session_feed(client: AppClient) -> dict[str, Any]:
    feed: dict[str, Any] = client.post("/v1/feeds", json={"items": ["item-0"], "k": 3}).json()
    return feed
