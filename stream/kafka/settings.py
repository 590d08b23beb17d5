"""Where the brokers are, how to be let in, and how long to wait for them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

SCHEME = "kafka://"
SECURITY = (  # kafka-python's own names
    "security_protocol",
    "sasl_mechanism",
    "sasl_plain_username",
    "sasl_plain_password",
    "ssl_cafile",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_password",
    "ssl_check_hostname",
)
RECONNECT_MAX_S = 1.0  # a broker that is back is noticed within this
FASTEST_HEARTBEAT_S = 0.1
SLOWEST_HEARTBEAT_S = 3.0  # kafka-python's default
# One request at a time goes to a broker: while it waits for idle partitions, a busy one whose last fetch is used up
# waits too. With kafka-python's 0.5 s and 1 MiB one partition of four was read at 10,000 records/s.
FETCH_WAIT_S = 0.2
FETCH_BYTES = 4 * 1024 * 1024  # of one partition
_PREFIX = re.compile(r"[A-Za-z0-9._-]{0,200}")
_USER_INFO = re.compile(r"//.*@", re.DOTALL)  # to the last @: a password may hold any character
_SERVER = re.compile(r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+):\d{1,5}")


@dataclass(frozen=True)
class KafkaSettings:
    """A cluster, and our corner of it.

    Attributes:
        servers: host:port of some brokers; they name the others.
        prefix: begins the names of our topics and groups.
        security: of kafka-python's settings those in SECURITY; never shown.
        session_timeout_s: a reader that has sent no heartbeat for so long loses its partitions.
        max_silence_s: a reader that has not polled for so long leaves its group.
        request_timeout_s: for one answer of a broker; a broker that does not answer looks dead after it.
        delivery_timeout_s: from publish() until it fails; at least request_timeout_s.
    """

    servers: tuple[str, ...]
    prefix: str = ""
    security: Mapping[str, str | bool | None] = field(default_factory=dict, repr=False)
    session_timeout_s: float = 10.0
    max_silence_s: float = 300.0
    request_timeout_s: float = 10.0
    delivery_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        bad_servers = [server for server in self.servers if not _SERVER.fullmatch(server)]
        if bad_servers or not self.servers:
            raise ValueError(f"servers={self.servers!r}: name brokers as host:port, like kafka.example:9092")
        if not _PREFIX.fullmatch(self.prefix):
            raise ValueError(f"prefix={self.prefix!r}: up to 200 letters, digits, '.', '_' and '-' name a topic")
        unknown = sorted(set(self.security) - set(SECURITY))
        if unknown:
            raise ValueError(f"security settings {unknown} are not known; use {', '.join(SECURITY)}")
        for name in ("session_timeout_s", "max_silence_s", "request_timeout_s", "delivery_timeout_s"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: at least 1 second")
        if self.delivery_timeout_s < self.request_timeout_s:
            raise ValueError(
                f"delivery_timeout_s={self.delivery_timeout_s} must be at least "
                f"request_timeout_s={self.request_timeout_s}; a request has to fit in"
            )

    @classmethod
    def from_url(cls, url: str, *, security: Mapping[str, str | bool | None] | None = None) -> Self:
        """Settings of a URL, the rest by default.

        Args:
            url: kafka://host:port,host:port/prefix; without a port it is 9092, the prefix may be left out.
            security: see the attribute.

        Raises:
            ValueError: not such a URL; the message says what was expected.

        >>> KafkaSettings.from_url("kafka://a,b:9093/shop-")
        KafkaSettings(servers=('a:9092', 'b:9093'), prefix='shop-', session_timeout_s=10.0, max_silence_s=300.0, \
request_timeout_s=10.0, delivery_timeout_s=30.0)
        """
        if not url.startswith(SCHEME) or "@" in url:
            raise ValueError("the log's URL must look like kafka://host:port,host:port/prefix, without a password")
        servers, _, prefix = url.removeprefix(SCHEME).partition("/")
        with_ports = (server if re.search(r":\d+$", server) else f"{server}:9092" for server in servers.split(","))
        return cls(tuple(with_ports), prefix, security or {})

    def client(self) -> dict[str, Any]:
        """What every client of kafka-python is given."""
        return {
            "bootstrap_servers": list(self.servers),
            "client_id": "freshet",
            "request_timeout_ms": _ms(self.request_timeout_s),
            "bootstrap_timeout_ms": _ms(self.request_timeout_s),
            "reconnect_backoff_max_ms": _ms(RECONNECT_MAX_S),
            **{name: value for name, value in self.security.items() if value is not None},
        }

    def consumer(self, group: str | None) -> dict[str, Any]:
        """What a reader's client is given: offsets are committed by us, never by themselves."""
        heartbeat_s = min(SLOWEST_HEARTBEAT_S, max(FASTEST_HEARTBEAT_S, self.session_timeout_s / 10))
        return {
            **self.client(),
            "group_id": None if group is None else self.prefix + group,
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "isolation_level": "read_committed",
            "allow_auto_create_topics": False,
            "session_timeout_ms": _ms(self.session_timeout_s),
            "heartbeat_interval_ms": _ms(heartbeat_s),
            "partition_assignment_strategy": (CooperativeStickyAssignor,),
            "max_poll_interval_ms": _ms(self.max_silence_s),
            "fetch_max_wait_ms": _ms(FETCH_WAIT_S),
            "max_partition_fetch_bytes": FETCH_BYTES,
            "metrics_enabled": False,
        }

    def producer(self, *, max_request_bytes: int) -> dict[str, Any]:
        """What the writer's client is given: every message once and in order, also when it was sent twice."""
        return {
            **self.client(),
            "enable_idempotence": True,  # and with it, one batch of a partition on its way at a time
            "acks": "all",
            "linger_ms": 0,  # what arrives while a batch is on its way goes with the next one
            "delivery_timeout_ms": _ms(self.delivery_timeout_s),
            "max_block_ms": _ms(self.request_timeout_s),
            "max_request_size": max_request_bytes,
            "allow_auto_create_topics": False,
            "metrics_enabled": False,
        }


def _ms(seconds: float) -> int:
    return int(seconds * 1_000)


def unused_security(protocol: str, given: Iterable[str]) -> list[str]:
    """The given settings that a security protocol does not use: who somebody is goes with SASL, certificates with SSL.

    >>> unused_security("SASL_PLAINTEXT", ["kafka_sasl_username", "kafka_ssl_cafile"])
    ['kafka_ssl_cafile']
    """
    uses = {"_sasl_": protocol.startswith("SASL"), "_ssl_": protocol.endswith("SSL")}
    return sorted(name for name in given if any(kind in name.lower() and not used for kind, used in uses.items()))


def without_password(text: str) -> str:
    """A URL that may be shown, whatever was written into it.

    >>> without_password("kafka://ada:secret@broker:9092/shop-")
    'kafka://***@broker:9092/shop-'
    """
    return _USER_INFO.sub("//***@", text)
