"""The Faust app, as far as it is Faust: its settings, and what of it had to be replaced."""

from __future__ import annotations

import ssl
from typing import Any, Protocol

import faust
from faust.app import BootStrategy
from faust.transport.drivers import aiokafka

from stream.kafka.settings import KafkaSettings
from stream.topics import MAX_DEAD_LETTER_BYTES
from stream.worker_settings import WorkerSettings

COMMIT_S = 1.0
OVERHEAD_BYTES = 4_096


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


class _Consumer(aiokafka.Consumer):  # type: ignore[misc]
    """Faust's, which after a rebalance seeks only where something was committed.

    What it had fetched of other partitions and dropped would be passed over, and be lost with the next commit.
    """

    async def perform_seek(self) -> None:
        """Go back to what was committed, or to the beginning."""
        await super().perform_seek()
        uncommitted = [
            tp for tp in self.assignment() if not self._is_changelog_tp(tp) and not self._committed_offset.get(tp)
        ]
        if uncommitted:
            await self.seek_wait(await self.earliest_offsets(*uncommitted))


class App(faust.App):  # type: ignore[misc]
    """Faust's, with a worker around it: Faust's own services start only once tables have recovered."""

    BootStrategy = _WithoutWeb
    worker: Tied

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
    return App(
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
