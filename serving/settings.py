"""The limits and deadlines of the HTTP process, in one frozen object that checks itself."""

from dataclasses import dataclass, fields
from typing import Literal

KeyRole = Literal["ingest", "read", "admin"]  # what the holder of an API key may do
MIN_KEY_LENGTH = 16


@dataclass(frozen=True)
class ServingSettings:
    """What one process accepts and how long it waits.

    Attributes:
        max_body_bytes: a larger request body is answered 413.
        body_timeout_s: how long a request body may take to come; then it is answered 408.
        publish_timeout_s: how long ingest waits for the log to say "durable" before it answers 503.
        feed_timeout_ms: default of a feed's `timeout_ms`.
        max_batch: feeds answered by one call of the ranker.
        max_waiting_feeds: feeds waiting to be scored; one more is answered 503.
        max_waiting_exposures: exposures not yet handed to the log; one more is dropped and counted.
        n_threads: threads for disk, pictures and the registry; as many again hand events to the log.
        max_waiting_jobs: jobs waiting for such a thread; one more is answered 503.
    """

    max_body_bytes: int = 16_000_000
    body_timeout_s: float = 60.0
    publish_timeout_s: float = 5.0
    feed_timeout_ms: int = 1_000
    max_batch: int = 32
    max_waiting_feeds: int = 1_024
    max_waiting_exposures: int = 10_000
    n_threads: int = 4
    max_waiting_jobs: int = 256

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ValueError(f"{field.name}={value} must be above 0")
