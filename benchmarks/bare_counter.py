"""What `benchmarks.outcomes` compares with: Faust's simplest table, one count a key, as its documentation writes it.

BROKER=host:port PREFIX=name- DATA=folder faust -A benchmarks.bare_counter worker
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterable
from typing import Any


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a Faust app, and Faust has no types
    if name != "app":
        raise AttributeError(name)
    import faust  # noqa: PLC0415 - importing this module does nothing

    app = faust.App(
        f"{os.environ['PREFIX']}bare",
        broker=f"kafka://{os.environ['BROKER']}",
        store="rocksdb://",
        datadir=os.environ["DATA"],
        topic_partitions=int(os.environ["PARTITIONS"]),
        topic_disable_leader=True,
        table_standby_replicas=int(os.environ["STANDBYS"]),
        broker_commit_interval=1.0,
    )
    topic = app.topic(f"{os.environ['PREFIX']}events", key_type=str, key_serializer="raw", value_serializer="raw")
    counts = app.Table("counts", key_type=str, value_type=int, default=int)

    async def count(stream: AsyncIterable[Any]) -> None:
        async for event in stream.events():  # type: ignore[attr-defined]
            counts[event.key] += 1

    app.agent(topic)(count)
    globals()["app"] = app
    return app
