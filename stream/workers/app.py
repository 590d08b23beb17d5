"""A worker: its parts, tied to Faust, started, stopped and watched. `make_app` is what `faust -A stream.worker` runs.

Faust's part: group membership, the table's changelog, its recovery and standbys, fetching (`stream.workers.faust_app`).
Ours, in the order of the data:
- records: agents, `intake`, by time through `merge`, to the user's state in `join`, which is kept by `user_table`;
- what comes of them: `outbox` writes it, and once it is durable `acks` lets the record be committed;
- a rebalance: `Worker` closes the intake and flushes, Faust recovers the table, `recovery` restores the join from it;
- the clock: `housekeeping`, with what is left to read from `lag`;
- a process of no use any more is ended by `watchdog`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterable, Hashable
from typing import Any

import faust
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]
from kafka.admin import KafkaAdminClient

from stream.embedded.file_lock import FileLock
from stream.kafka.connect import answering, connected
from stream.kafka.topics import ensure_topics
from stream.log import LogError
from stream.topics import COUNTS, DEAD_LETTER, EVENTS, EXPOSURES, OUTCOMES, Topic, topics
from stream.worker_settings import WorkerSettings
from stream.workers.complaints import Seldom
from stream.workers.faust_app import App, new_app, producer_config, silent_s
from stream.workers.health import HealthServer
from stream.workers.housekeeping import KEEP_HOUSE_S, Housekeeping
from stream.workers.intake import Intake
from stream.workers.join import Join
from stream.workers.lag import Lag
from stream.workers.metrics import WorkerMetrics
from stream.workers.outbox import Done, Outbox, Target
from stream.workers.partition import JoinSettings
from stream.workers.recovery import Recovery
from stream.workers.user_table import UserTable
from stream.workers.watchdog import Watchdog, end_process, refuse_to_start

USED = (EVENTS, EXPOSURES, OUTCOMES, COUNTS, DEAD_LETTER)
STOP_S = 12.0  # from being asked to end; then it ends anyhow

_log = logging.getLogger(__name__)


def make_app(settings: WorkerSettings) -> App:
    """The app, not started; nothing is connected to yet.

    Args:
        settings: of this worker.
    """
    app = new_app(settings)
    app.worker = Worker(app, settings)
    return app


class Worker:
    """Ties the join to Faust."""

    def __init__(self, app: App, settings: WorkerSettings) -> None:
        self._app, self._settings = app, settings
        self._metrics = WorkerMetrics()
        self._watchdog = Watchdog(self._progress, stuck_s=settings.stuck_s, silent_s=silent_s(settings))
        self._outbox = Outbox(producer_config(settings), before_send=self._watchdog.check, fail=_fail)
        self._table = UserTable(app, settings.partitions, self._outbox)
        self._join = Join(self._table, self._send, settings=_join_settings(settings), metrics=self._metrics)
        self._intake = Intake(app, self._join, prefix=settings.kafka.prefix)
        self._recovery = Recovery(app, self._join, self._table)
        self._lag = Lag(app, self._join, prefix=settings.kafka.prefix, metrics=self._metrics)
        self._house = Housekeeping(self._join, self._intake, lag=self._lag, metrics=self._metrics)
        self._health: HealthServer | None = None
        self._is_stopping = False
        self._lost_at = time.monotonic()
        self._register()

    def _register(self) -> None:
        app = self._app
        app.agent(self._topic(EVENTS), name="events")(self._events)
        app.agent(self._topic(EXPOSURES), name="exposures")(self._exposures)
        app.task(self._keep_house)
        app.on_partitions_revoked.connect(self._lost, weak=False)
        self._table.on_recovered(self._recovered)

    def _topic(self, name: str) -> faust.TopicT:
        raw = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
        return self._app.topic(self._settings.kafka.prefix + name, **raw)

    # Start and stop ---------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Before anything is consumed: own the folder, have the topics, be watched. Or end, with the reason."""
        try:
            await self._prepare()
        except (LogError, KafkaError, OSError) as exc:
            refuse_to_start(str(exc))

    async def _prepare(self) -> None:
        logging.getLogger("aiokafka").setLevel(logging.INFO)  # it formats what it sends, shown or not
        for handler in logging.getLogger().handlers:
            handler.addFilter(Seldom())
        self._settings.data_dir.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self._settings.data_dir / "worker.lock")
        await asyncio.to_thread(self._ensure_topics)
        await self._outbox.start()
        self._metrics.recovering.set(1)
        self._watchdog.start()
        if self._settings.metrics_port:
            address = (self._settings.host, self._settings.metrics_port)
            self._health = HealthServer(address, self._metrics.registry, self._state)
            _log.info("health and metrics at http://%s:%d/metrics", *address)

    def begin_to_stop(self) -> None:
        """Handle what was begun, and close no more windows: the table is about to be closed."""
        self._is_stopping = True
        self._watchdog.expect_end(STOP_S)
        self._join.forget_closing()
        self._intake.close()

    async def stop(self) -> None:
        """Nothing is handled any more."""
        await self._flush()
        await self._outbox.stop()
        if self._health is not None:
            await asyncio.to_thread(self._health.close)

    def _ensure_topics(self) -> None:
        settings = self._settings
        all_topics = topics(settings.partitions, retention_ms=settings.retention_ms)
        changelog = Topic(
            self._table.changelog.removeprefix(settings.kafka.prefix), settings.partitions, compacted=True
        )
        wanted = {name: all_topics[name] for name in USED} | {changelog.name: changelog}
        admin = connected(KafkaAdminClient, settings.kafka.client())
        try:
            with answering("looking at the topics"):
                ensure_topics(admin, wanted, prefix=settings.kafka.prefix)
        finally:
            admin.close()

    # Partitions -------------------------------------------------------------------------------------------------

    async def _lost(self, *_: object, **__: object) -> None:
        """A rebalance begins; all partitions are given back, most come again."""
        if self._intake.is_open:
            self._lost_at = time.monotonic()
        self._metrics.recovering.set(1)
        self._join.pause()
        self._intake.close()
        self._app.chain.restart()
        await self._flush()

    async def _flush(self) -> None:
        """Nothing of ours is on its way when partitions go to others: it would replace what they write."""
        try:
            await self._outbox.flush(silent_s(self._settings))
        except TimeoutError:
            end_process(f"the log did not take what had to be durable within {silent_s(self._settings)} s")

    async def _recovered(self) -> None:
        """The table is complete. Faust would say nothing of an error in here, and go on."""
        try:
            partitions = await self._recovery.restore()
        except Exception as exc:
            _log.exception("restoring failed")
            end_process(f"partitions cannot be restored: {exc!r}")
        if partitions is not None:
            self._go_on(partitions)

    def _go_on(self, partitions: list[int]) -> None:
        self._app.chain.restart()
        self._lag.expect()  # Faust goes on to seek, and waits there for brokers that are gone
        self._intake.open()
        took_s = time.monotonic() - self._lost_at
        self._metrics.recovering.set(0)
        self._metrics.recovery_seconds.observe(took_s)
        self._metrics.partitions.set(len(partitions))
        _log.info("partitions %s are ready after %.1f s", partitions, took_s)

    # Records, and the clock -------------------------------------------------------------------------------------

    async def _events(self, stream: AsyncIterable[Any]) -> None:
        await self._intake.take(EVENTS, stream)

    async def _exposures(self, stream: AsyncIterable[Any]) -> None:
        await self._intake.take(EXPOSURES, stream)

    async def _keep_house(self) -> None:
        while not self._app.should_stop:
            await asyncio.sleep(KEEP_HOUSE_S)
            await self._house.keep_house()

    def _send(self, topic: str, partition: int, key: bytes, value: bytes, done: Done) -> None:
        target = Target(self._settings.kafka.prefix + topic, partition)
        self._outbox.lane(target, keeps_newest=topic == COUNTS).put(key, value, done)

    # What others see --------------------------------------------------------------------------------------------

    def _progress(self) -> Hashable | None:
        return None if self._intake.is_open or self._is_stopping else self._recovery.progress()

    def _state(self) -> dict[str, Any]:
        unanswered_s = self._lag.unanswered_s
        return {
            "is_alive": self._watchdog.silent_for_s < silent_s(self._settings),
            "is_ready": self._intake.is_open and unanswered_s < silent_s(self._settings),
            "partitions": sorted(self._join.partitions),
            "pending": self._join.acks.n_pending,
            "brokers_silent_s": round(unanswered_s, 1),
            "recovering_s": None if self._intake.is_open else round(time.monotonic() - self._lost_at, 1),
        }


def _fail(error: BaseException) -> None:
    end_process(f"the log did not take what had to be durable: {error!r}")


def _join_settings(settings: WorkerSettings) -> JoinSettings:
    return JoinSettings(settings.attribution, settings.sequence_length, settings.kinds, settings.idle_s)
