"""The Faust app, as far as it is Faust: its settings, and what of it had to be replaced."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable, Set
from typing import Any, Protocol

import faust
from faust.app import BootStrategy
from faust.transport.drivers import aiokafka
from faust.types import TP
from mode.utils.objects import cached_property
from mode.utils.queues import FlowControlEvent

from stream.kafka.settings import KafkaSettings
from stream.topics import MAX_DEAD_LETTER_BYTES
from stream.worker_settings import WorkerSettings
from stream.workers.acks import Source
from stream.workers.chain import Chain

COMMIT_S = 1.0
OVERHEAD_BYTES = 4_096

_log = logging.getLogger(__name__)


class Tied(Protocol):
    """What is started before Faust, and stopped after it."""

    async def start(self) -> None:
        """Before anything is connected to."""
        ...

    def begin_to_stop(self) -> None:
        """The process was asked to end."""
        ...

    async def stop(self) -> None:
        """Faust has let go of its partitions."""
        ...


class _WithoutWeb(BootStrategy):  # type: ignore[misc]
    """Faust's own web server listens on all addresses unless the command line says --without-web."""

    enable_web = False


class _FlowControl(FlowControlEvent):
    """Faust's, which empties the agents' queues at every `resume`.

    After a recovery it resumes twice, with records fetched in between: those were lost with the next commit.
    """

    def resume(self) -> None:
        """Let records flow; those that already do are left alone."""
        if not self.is_active():
            super().resume()


class Readable:
    """The partitions that may be read at the moment; true also when there are none.

    Given an empty set, aiokafka hands out records of all partitions. Faust asks so while partitions change hands, drops
    what comes, and goes on behind it.
    """

    def __init__(self, active: Set[TP]) -> None:
        self._active = active  # Faust's own set, which it changes while a request waits

    def __contains__(self, tp: object) -> bool:
        return tp in self._active


class _Consumer(aiokafka.Consumer):  # type: ignore[misc]
    """Faust's, where it would pass records over after a rebalance.

    It lets records come and then seeks back to what was committed: what came in between counts as a gap of the log,
    to be committed whether it was handled or not. And it seeks only where something was committed: what it had
    fetched of other partitions, and dropped, would be left out.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments, **options)
        self.sought: dict[TP, int] = {}  # where reading went on after the last rebalance
        self.passed: dict[TP, int] = {}  # all records before this offset were handed to the agents
        self._to_resume: set[TP] = set()
        self._pass_on: Callable[[Any], Awaitable[None]] = self.callback  # type: ignore[has-type]
        self.callback = self._link

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Let changelogs be read; other topics once they were sought."""
        sources = {tp for tp in tps if not self._is_changelog_tp(tp)}
        self._to_resume |= sources
        super().resume_partitions(set(tps) - sources)

    async def on_partitions_revoked(self, revoked: Set[TP]) -> None:
        """A rebalance begins; where reading goes on is to be seen."""
        self.sought, self.passed = {}, {}
        await super().on_partitions_revoked(revoked)

    async def perform_seek(self) -> None:
        """Go back to what was committed, or to the beginning, and let all be read."""
        generation = self.app.consumer_generation_id
        await super().perform_seek()
        sources = {tp for tp in self.assignment() if not self._is_changelog_tp(tp)}
        starts = await self.earliest_offsets(*sources) if sources else {}
        passed = {tp: start for tp, start in starts.items() if (self._committed_offset.get(tp) or 0) <= start}
        if passed:  # nothing committed, or retention has passed it
            await self.seek_wait(passed)
            self._committed_offset.update({tp: start for tp, start in passed.items() if start})
        self.sought = {tp: self._committed_offset.get(tp) or 0 for tp in starts}
        if generation == self.app.consumer_generation_id:
            super().resume_partitions(self._to_resume & sources)
            self._to_resume.clear()

    def on_buffer_drop(self, tp: TP) -> None:
        """An agent's queue has room again; what is paused until it was sought stays so."""
        if tp in self._paused_partitions:
            self._buffered_partitions.discard(tp)
        else:
            super().on_buffer_drop(tp)

    def let_go(self, message: Any) -> None:  # noqa: ANN401
        """A record is not handled and will be read again: when Faust stops it is not to wait for its end."""
        self._unacked_messages.discard(message)

    async def _getmany(self, active_partitions: Set[TP], timeout: float) -> Any:  # noqa: ANN401
        self.passed = self._positions()  # they move only in the next line, and all that it gave before was handed on
        return await super()._getmany(active_partitions=Readable(active_partitions), timeout=timeout)

    def _positions(self) -> dict[TP, int]:
        """Offsets that aiokafka goes on from, beyond the markers of transactions, which it keeps to itself."""
        subscription = self._thread._ensure_consumer()._subscription.subscription if self.sought else None
        if subscription is None or subscription.assignment is None:
            return {}
        states = {tp: subscription.assignment.state_value(tp) for tp in self.sought}
        positions = {tp: state._position for tp, state in states.items() if state is not None}
        return {tp: position for tp, position in positions.items() if position is not None}

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        _log.warning("%s has no records from offset %d to %d: past retention?", tp, offset_from, offset_to - 1)
        await super()._add_gap(tp, offset_from, offset_to)

    async def _link(self, message: Any) -> None:  # noqa: ANN401
        if not self._is_changelog_tp(message.tp):
            self.app.chain.fetched(Source(*message.tp), message.offset)
        await self._pass_on(message)


class App(faust.App):  # type: ignore[misc]
    """Faust's, with a worker around it: Faust's own services start only once tables have recovered."""

    BootStrategy = _WithoutWeb
    worker: Tied
    chain: Chain

    @cached_property
    def flow_control(self) -> FlowControlEvent:
        """What stops records while partitions change hands."""
        return _FlowControl(loop=self.loop)

    def _new_transport(self) -> faust.types.TransportT:
        transport = super()._new_transport()
        transport.Consumer = _Consumer
        return transport

    async def on_first_start(self) -> None:
        """Before anything is connected to."""
        await super().on_first_start()
        await self.worker.start()

    async def on_stop(self) -> None:
        """When Faust has let go of its partitions."""
        self.worker.begin_to_stop()
        await super().on_stop()
        await self.worker.stop()


def new_app(settings: WorkerSettings) -> App:
    """The app without agents and tables; its `worker` is to be set.

    Args:
        settings: of this worker.
    """
    session_s = settings.session_timeout_s
    app = App(
        settings.app_id,
        broker=[f"kafka://{server}" for server in settings.kafka.servers],
        broker_credentials=_credentials(settings.kafka),
        store="rocksdb://",
        datadir=str(settings.data_dir),
        topic_partitions=settings.partitions,
        topic_disable_leader=True,
        table_standby_replicas=settings.standbys,
        consumer_auto_offset_reset="earliest",
        broker_commit_interval=COMMIT_S,
        broker_session_timeout=session_s,
        broker_heartbeat_interval=session_s / 10,
        broker_request_timeout=max(30.0, session_s + 10),
        web_enabled=False,
        autodiscover=False,
    )
    app.chain = Chain()
    return app


def silent_s(settings: WorkerSettings) -> float:
    """How long a worker may have stood still and go on: well below what the brokers wait for a sign of it."""
    return settings.session_timeout_s * 0.75


def producer_config(settings: WorkerSettings) -> dict[str, Any]:
    """What a producer of aiokafka is given, but for what the outbox says itself."""
    credentials = _credentials(settings.kafka)
    return {
        "bootstrap_servers": list(settings.kafka.servers),
        "client_id": "freshet-worker",
        "request_timeout_ms": int(silent_s(settings) * 1_000),  # what is older may be another's to say by now
        "max_request_size": MAX_DEAD_LETTER_BYTES + OVERHEAD_BYTES,
        **aiokafka.credentials_to_aiokafka_auth(credentials, getattr(credentials, "ssl_context", None)),
    }


def _credentials(kafka: KafkaSettings) -> faust.types.auth.CredentialsT | None:
    security = kafka.security
    protocol = security.get("security_protocol") or "PLAINTEXT"
    context = _ssl_context(kafka) if "SSL" in str(protocol) else None
    if str(protocol).startswith("SASL"):
        return faust.SASLCredentials(
            username=security.get("sasl_plain_username"),
            password=security.get("sasl_plain_password"),
            mechanism=security.get("sasl_mechanism") or "PLAIN",
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context is not None else None


def _ssl_context(kafka: KafkaSettings) -> ssl.SSLContext:
    security = kafka.security
    cafile, certfile, keyfile = (security.get(name) for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"))
    context = ssl.create_default_context(cafile=str(cafile) if cafile else None)
    if certfile:
        context.load_cert_chain(str(certfile), str(keyfile) if keyfile else None)
    return context
