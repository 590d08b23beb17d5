"""What a worker is told by its environment: the same variables as the service's, and a few of its own.

| variable | meaning | default |
|---|---|---|
| FRESHET_LOG | kafka://host:port[,host:port][/prefix] | needed |
| FRESHET_KAFKA_... | how brokers are talked to, as for the service | PLAINTEXT |
| FRESHET_PARTITIONS, FRESHET_RETENTION_DAYS | of the topics | 4, 30 |
| FRESHET_KINDS | the closed set of event kinds, JSON | the default kinds |
| FRESHET_SEQUENCE_LENGTH | newest events kept by user | 50 |
| FRESHET_ATTRIBUTION_WINDOW_S, FRESHET_LATENESS_S | of the join | 1800, 120 |
| FRESHET_WORKER_DATA_DIR | RocksDB; a folder of its own for each worker | freshet-worker |
| FRESHET_WORKER_IDLE_S | an input silent for so long does not hold the stream clock | 10 |
| FRESHET_WORKER_SESSION_TIMEOUT_S | a silent worker's partitions go to others after this | 20 |
| FRESHET_WORKER_STUCK_S | a recovery without progress for so long ends the process | 120 |
| FRESHET_WORKER_STANDBYS | copies of the table on other workers | 1 |
| FRESHET_HOST, FRESHET_METRICS_PORT | of /healthz, /readyz and /metrics; port 0 for none | 127.0.0.1, 8001 |
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

import msgspec

from stream.kafka.settings import KafkaSettings, unused_security, without_password
from stream.kinds import DEFAULT_KINDS, EventKind, EventKinds
from stream.topics import DAY_MS, RETENTION_MS
from stream.windows.attribution import AttributionSettings

PREFIX = "FRESHET_"
SECURITY = {  # our variable: kafka-python's name
    "KAFKA_SECURITY_PROTOCOL": "security_protocol",
    "KAFKA_SASL_MECHANISM": "sasl_mechanism",
    "KAFKA_SASL_USERNAME": "sasl_plain_username",
    "KAFKA_SASL_PASSWORD": "sasl_plain_password",
    "KAFKA_SSL_CAFILE": "ssl_cafile",
    "KAFKA_SSL_CERTFILE": "ssl_certfile",
    "KAFKA_SSL_KEYFILE": "ssl_keyfile",
}
FILES = ("ssl_cafile", "ssl_certfile", "ssl_keyfile")
OF_WORKERS = f"{PREFIX}WORKER_"
OWN = tuple(f"{OF_WORKERS}{name}" for name in ("DATA_DIR", "IDLE_S", "SESSION_TIMEOUT_S", "STANDBYS", "STUCK_S"))
MIN_SESSION_TIMEOUT_S = 2.0
MAX_PORT = 65_535
MAX_STANDBYS = 5
MAX_SEQUENCE_LENGTH = 255
_T = TypeVar("_T")


class BadWorkerSettings(ValueError):
    """A variable that cannot be used; the message names it, its value and what may be given."""


@dataclass(frozen=True)
class WorkerSettings:
    """One worker.

    Attributes:
        kafka: the log.
        data_dir: of RocksDB; one worker's alone.
        partitions: of the topics.
        retention_ms: of the topics that are kept by time.
        kinds: the closed set of event kinds.
        sequence_length: newest events kept by user.
        attribution: of the join.
        idle_s: an input without records for so long does not hold the stream clock.
        session_timeout_s: a worker silent for so long loses its partitions.
        stuck_s: a recovery without progress for so long ends the process.
        standbys: copies of the table on other workers.
        host: for health and metrics.
        metrics_port: likewise; 0 for none.
    """

    kafka: KafkaSettings
    data_dir: Path = Path("freshet-worker")
    partitions: int = 4
    retention_ms: int = RETENTION_MS
    kinds: EventKinds = field(default=DEFAULT_KINDS, compare=False)
    sequence_length: int = 50
    attribution: AttributionSettings = field(default_factory=AttributionSettings)
    idle_s: float = 10.0
    session_timeout_s: float = 20.0
    stuck_s: float = 120.0
    standbys: int = 1
    host: str = "127.0.0.1"
    metrics_port: int = 8001

    def __post_init__(self) -> None:
        _check("partitions", self.partitions, 1, 128)
        _check("sequence_length", self.sequence_length, 1, MAX_SEQUENCE_LENGTH)
        _check("worker_idle_s", self.idle_s, 0, 86_400)
        _check("worker_session_timeout_s", self.session_timeout_s, MIN_SESSION_TIMEOUT_S, 1_800)
        _check("worker_stuck_s", self.stuck_s, 1, 86_400)
        _check("worker_standbys", self.standbys, 0, MAX_STANDBYS)
        _check("metrics_port", self.metrics_port, 0, MAX_PORT)

    @property
    def app_id(self) -> str:
        """Group of the workers, and beginning of the changelog's name."""
        return f"{self.kafka.prefix}worker"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The settings that variables give; one that is not set, or empty, is the default.

        Raises:
            BadWorkerSettings: one cannot be used, or is named like a worker's and is none.
        """
        unknown = sorted(name for name in environment if name.startswith(OF_WORKERS) and name not in OWN)
        if unknown:
            raise BadWorkerSettings(f"unknown {', '.join(unknown)}; there are {', '.join(OWN)}")
        get = _Reader(environment)
        default = AttributionSettings()
        attribution = AttributionSettings(
            window_ms=get.milliseconds("ATTRIBUTION_WINDOW_S", default.window_ms),
            lateness_ms=get.milliseconds("LATENESS_S", default.lateness_ms, least_ms=0),
        )
        return cls(
            kafka=get.kafka(),
            data_dir=get("WORKER_DATA_DIR", Path, cls.data_dir),
            partitions=get("PARTITIONS", int, cls.partitions),
            retention_ms=get.milliseconds("RETENTION_DAYS", cls.retention_ms, unit_ms=DAY_MS),
            kinds=get("KINDS", _kinds, DEFAULT_KINDS),
            sequence_length=get("SEQUENCE_LENGTH", int, cls.sequence_length),
            attribution=attribution,
            idle_s=get("WORKER_IDLE_S", float, cls.idle_s),
            session_timeout_s=get("WORKER_SESSION_TIMEOUT_S", float, cls.session_timeout_s),
            stuck_s=get("WORKER_STUCK_S", float, cls.stuck_s),
            standbys=get("WORKER_STANDBYS", int, cls.standbys),
            host=get("HOST", str, cls.host),
            metrics_port=get("METRICS_PORT", int, cls.metrics_port),
        )


class _Reader:
    """Variables by name, without the prefix."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def __call__(self, name: str, read: Callable[[str], _T], default: _T) -> _T:
        text = self._environment.get(PREFIX + name, "")
        if not text:
            return default
        try:
            return read(text)
        except (ValueError, OverflowError, msgspec.DecodeError) as exc:
            raise BadWorkerSettings(f"{PREFIX}{name}={without_password(text)!r} cannot be used: {exc}") from exc

    def milliseconds(self, name: str, default_ms: int, *, unit_ms: int = 1_000, least_ms: int = 1) -> int:
        def read(text: str) -> int:
            ms = int(float(text) * unit_ms)
            if ms < least_ms:
                raise ValueError(f"at least {least_ms} ms is possible")
            return ms

        return self(name, read, default_ms)

    def kafka(self) -> KafkaSettings:
        url = self("LOG", str, "")
        if not url.startswith("kafka://"):
            raise BadWorkerSettings(
                f"{PREFIX}LOG={without_password(url)!r}: workers need a Kafka log; "
                "set it to kafka://host:port[,host:port][/prefix]"
            )
        security: dict[str, str | bool | None] = {
            theirs: self(ours, _file if theirs in FILES else str, "")
            for ours, theirs in SECURITY.items()
            if self(ours, str, "")
        }
        protocol = str(security.get("security_protocol", "PLAINTEXT"))
        given = [PREFIX + ours for ours, theirs in SECURITY.items() if theirs in security]
        unused = unused_security(protocol, given)
        if unused:
            raise BadWorkerSettings(
                f"{PREFIX}KAFKA_SECURITY_PROTOCOL={protocol} does not use {', '.join(unused)}; "
                "set the one that the brokers speak, or leave those out"
            )
        return self("LOG", lambda text: KafkaSettings.from_url(text, security=security), KafkaSettings(("none:1",)))


def _file(text: str) -> str:
    if not Path(text).is_file():
        raise ValueError("there is no such file")
    return text


class _Kind(msgspec.Struct, forbid_unknown_fields=True):
    """A kind as the service reads it from the same variable."""

    name: str
    enters_sequence: bool = True
    is_target: bool = True


def _kinds(text: str) -> EventKinds:
    kinds = msgspec.json.decode(text, type=list[_Kind])
    return EventKinds([EventKind(kind.name, kind.enters_sequence, kind.is_target) for kind in kinds])


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise BadWorkerSettings(f"{PREFIX}{name.upper()}={value}: {low} to {high} are possible")
