"""Real parts for tests of the roles: an embedded log in a folder, and waiting with a deadline."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry

from monitoring.metrics import Metrics
from stream.embedded.log import EmbeddedLog
from stream.events import Interaction, encode
from stream.log import Message
from stream.topics import topics

DEADLINE_S = 30.0
N_PARTITIONS = 2


@contextmanager
def open_log(folder: Path) -> Iterator[EmbeddedLog]:
    log = EmbeddedLog(folder / "log.sqlite", topics(N_PARTITIONS))
    try:
        yield log
    finally:
        log.close()


def new_metrics() -> Metrics:
    return Metrics(CollectorRegistry())


def value(metrics: Metrics, name: str, labels: dict[str, str] | None = None) -> float | None:
    return metrics.registry.get_sample_value(f"freshet_{name}", labels or {})


def click(number: int, user: str = "ada", item: str | None = None, **changes: object) -> Interaction:
    values = {"event_id": f"e{number}", "user_id": user, "item_id": item or f"item-{number}", "ts_ms": 1_000 * number}
    return Interaction(**{**values, **changes})  # type: ignore[arg-type]


def publish(log: EmbeddedLog, events: Iterable[Interaction]) -> None:
    messages = [Message(event.user_id.encode(), encode(event)) for event in events]
    log.publish("events", messages).result(DEADLINE_S)
