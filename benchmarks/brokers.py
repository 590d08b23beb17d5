"""A broker of the benchmark's own: one node on loopback and a free port, its data in a temporary folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from broker.cluster import Cluster
from stream.kafka.log import KafkaLog
from stream.kafka.settings import KafkaSettings
from stream.topics import Topic, topics

CACHE = Path(".kafka")  # of Java libraries, shared with `make kafka`


@contextmanager
def started_broker(folder: Path | None = None) -> Iterator[str]:
    """A broker inside the `with`, stopped after it.

    Args:
        folder: on the disk to be measured; a temporary one by default.

    Yields:
        Where it answers, host:port.

    Raises:
        BrokerError: Java or Maven is missing, or it does not come up.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="broker-") as data:
        cluster = Cluster(Path(data), cache=CACHE)
        try:
            cluster.start()
            yield cluster.addresses
        finally:
            cluster.stop()


@contextmanager
def opened_log(server: str, known: Mapping[str, Topic] | None = None, *, prefix: str = "") -> Iterator[KafkaLog]:
    """The log on that broker, closed after the `with`.

    Args:
        server: host:port.
        known: topics by name; Freshet's own by default.
        prefix: of their names.
    """
    with closing(KafkaLog(KafkaSettings((server,), prefix), known or topics())) as log:
        yield log
