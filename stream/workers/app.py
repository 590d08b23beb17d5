"""A worker: what Faust gives it, tied to the join, and watched. `make_app` is what `faust -A stream.worker` runs.

Faust's part: group membership, the table's changelog, its recovery and standbys, fetching (`stream.workers.faust_app`).
Ours: what a record means (`join`), when it is acknowledged (`acks`), how it is written (`outbox`), and when the process
is of no use any more (`watchdog`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterable, Callable, Hashable
from typing import Any

import faust
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]
from faust.types import TP
from kafka.admin import KafkaAdminClient

from stream.embedded.file_lock import FileLock
from stream.kafka.connect import answering, connected
from stream.kafka.topics import ensure_topics
from stream.log import LogError
from stream.topics import COUNTS, DEAD_LETTER, EVENTS, EXPOSURES, OUTCOMES, Topic, topics
from stream.worker_settings import WorkerSettings
from stream.workers.acks import Source
from stream.workers.complaints import Seldom
from stream.workers.faust_app import App, new_app, producer_config, silent_s
from stream.workers.health import HealthServer
from stream.workers.join import Join
from stream.workers.lag import Lag
from stream.workers.merge import Merge
from stream.workers.metrics import WorkerMetrics
from stream.workers.outbox import Done, Outbox, Target
from stream.workers.partition import JoinSettings
from stream.workers.user_table import UserTable
from stream.workers.watchdog import Watchdog, end_process, refuse_to_start

USED = (EVENTS, EXPOSURES, OUTCOMES, COUNTS, DEAD_LETTER)
KEEP_HOUSE_S = 0.5
COUNTS_SHARE = 20  # at most a twentieth of the time goes into publishing counts
RESTORED_AT_ONCE = 500  # users between two turns of the event loop
HANDLED_AT_ONCE = 200  # records between two turns of the event loop
MAX_PENDING = 4_000  # records handled and not durable yet
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
        self._merge = Merge(self._join, pause=self._fetch_no_more, resume=self._fetch_again)
        self._lag = Lag(app, self._join, prefix=settings.kafka.prefix, metrics=self._metrics)
        self._health: HealthServer | None = None
        self._is_ready = self._is_stopping = False
        self._lost_at = time.monotonic()
        self._n_restored = 0
        self._read_back: dict[int, int] = {}
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
        self._is_ready = False
        self._is_stopping = True
        self._watchdog.expect_end(STOP_S)
        self._join.forget_closing()
        self._let_go()

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
        if self._is_ready:
            self._lost_at = time.monotonic()
        self._is_ready = False
        self._metrics.recovering.set(1)
        self._join.pause()
        self._let_go()
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
            await self._restore()
        except Exception as exc:
            _log.exception("restoring failed")
            end_process(f"partitions cannot be restored: {exc!r}")

    async def _restore(self) -> None:
        n_pauses = self._join.n_pauses
        held = {tp.partition for tp in self._app.assignor.assigned_actives() if tp.topic == self._table.changelog}
        for partition in set(self._join.partitions) - held:
            del self._join.partitions[partition]
        for partition in sorted(held):
            n_read_back = self._table.n_read_back.get(partition, 0)
            is_known = partition in self._join.partitions and self._read_back.get(partition) == n_read_back
            if not is_known:
                await self._restore_partition(partition)
            if n_pauses != self._join.n_pauses:  # another rebalance began; Faust comes here again after it
                return
            self._read_back[partition] = n_read_back
        self._app.chain.restart()
        self._lag.expect()  # Faust goes on to seek, and waits there for brokers that are gone
        self._is_ready = True
        took_s = time.monotonic() - self._lost_at
        self._metrics.recovering.set(0)
        self._metrics.recovery_seconds.observe(took_s)
        self._metrics.partitions.set(len(held))
        _log.info("partitions %s are ready after %.1f s", sorted(held), took_s)

    async def _restore_partition(self, partition: int) -> None:
        for n_users in self._join.restore(partition):
            if n_users % RESTORED_AT_ONCE == 0:
                self._n_restored += RESTORED_AT_ONCE
                await asyncio.sleep(0)

    # Records ----------------------------------------------------------------------------------------------------

    async def _events(self, stream: AsyncIterable[Any]) -> None:
        await self._take(EVENTS, stream)

    async def _exposures(self, stream: AsyncIterable[Any]) -> None:
        await self._take(EXPOSURES, stream)

    async def _take(self, topic: str, stream: Any) -> None:  # noqa: ANN401
        async for event in stream.noack().events():
            if self._is_ready:  # else of before the partitions were given back; reading goes back to what was committed
                partition = event.message.partition
                self._merge.add(Source(topic, partition), event)
                self._handle_ready(partition)
            else:
                self._app.consumer.let_go(event.message)
            await self._room()

    def _let_go(self) -> None:
        for event in self._merge.clear():
            self._app.consumer.let_go(event.message)

    def _handle_ready(self, partition: int) -> int:
        n_handled = 0
        for topic, event in self._merge.ready(partition, HANDLED_AT_ONCE):
            self._handle(self._join.handle_event if topic == EVENTS else self._join.handle_exposure, event)
            n_handled += 1
        return n_handled

    def _fetch_no_more(self, source: Source) -> None:
        self._app.consumer.on_buffer_full(self._tp(source))

    def _fetch_again(self, source: Source) -> None:
        self._app.consumer.on_buffer_drop(self._tp(source))

    def _tp(self, source: Source) -> TP:
        return TP(self._settings.kafka.prefix + source.topic, source.partition)

    def _handle(self, handle: Callable[[Any], None], event: Any) -> None:  # noqa: ANN401
        """Faust would go on with the next record after an error, and commit this one with it."""
        source, offset = Source(*event.message.tp), event.message.offset
        if not self._app.chain.handled(source, offset):
            end_process(f"records of {source} before offset {offset} were fetched and never came")
        try:
            handle(event)
        except Exception as exc:
            _log.exception("a record cannot be handled")
            end_process(f"a record of {source} at {offset} cannot be handled: {exc!r}")

    async def _room(self) -> None:
        while self._join.acks.n_pending > MAX_PENDING:
            await asyncio.sleep(0.005)

    def _send(self, topic: str, partition: int, key: bytes, value: bytes, done: Done) -> None:
        target = Target(self._settings.kafka.prefix + topic, partition)
        self._outbox.lane(target, keeps_newest=topic == COUNTS).put(key, value, done)

    # By the clock -----------------------------------------------------------------------------------------------

    async def _keep_house(self) -> None:
        """Stream time also moves when an input is idle; counts are published; gauges are set."""
        counts_at = 0.0
        while not self._app.should_stop:
            await asyncio.sleep(KEEP_HOUSE_S)
            if not self._is_ready:
                continue
            await self._lag.look()
            await self._handle_waiting()
            if not self._is_ready:
                continue
            for partition in list(self._join.partitions.values()):
                self._join.close_due(partition, limit=MAX_PENDING)
            self._metrics.closing_users.set(sum(p.n_closing for p in self._join.partitions.values()))
            if time.monotonic() >= counts_at:
                started = time.monotonic()
                self._join.publish_counts()
                counts_at = started + max(2 * KEEP_HOUSE_S, COUNTS_SHARE * (time.monotonic() - started))

    async def _handle_waiting(self) -> None:
        """What waited for a topic of which all is read by now."""
        for partition in list(self._join.partitions):
            while self._is_ready and self._handle_ready(partition):
                await asyncio.sleep(0)
                await self._room()

    # What others see --------------------------------------------------------------------------------------------

    def _progress(self) -> Hashable | None:
        if self._is_ready or self._is_stopping:
            return None
        recovery = self._app.tables.recovery
        n_read = sum(offset or 0 for offset in list(recovery.active_offsets.values()))
        return (self._app.rebalancing_count, n_read, self._n_restored)

    def _state(self) -> dict[str, Any]:
        unanswered_s = self._lag.unanswered_s
        return {
            "is_alive": self._watchdog.silent_for_s < silent_s(self._settings),
            "is_ready": self._is_ready and unanswered_s < silent_s(self._settings),
            "partitions": sorted(self._join.partitions),
            "pending": self._join.acks.n_pending,
            "brokers_silent_s": round(unanswered_s, 1),
            "recovering_s": None if self._is_ready else round(time.monotonic() - self._lost_at, 1),
        }


def _fail(error: BaseException) -> None:
    end_process(f"the log did not take what had to be durable: {error!r}")


def _join_settings(settings: WorkerSettings) -> JoinSettings:
    return JoinSettings(settings.attribution, settings.sequence_length, settings.kinds, settings.idle_s)
