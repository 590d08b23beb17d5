"""Producers to the broker beside the clients that are timed: a process of their own, whose work holds up no clock.

Live events of the synthetic shop in their order; one of `one_in` is left to the clients that ask for a feed after it.
"""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from itertools import islice
from multiprocessing.synchronize import Event
from typing import Any, Self

import msgspec

from benchmarks.brokers import opened_log
from benchmarks.live import N_ALL, N_PAST
from stream.events import Interaction, encode
from stream.log import Message
from stream.replay.synthetic import SyntheticConfig, SyntheticDataset
from stream.topics import EVENTS

JOIN_S = 30.0


class Producers:
    """Run until the end of the `with`.

    Args:
        server: host:port of the broker.
        prefix: of its topics.
        rate: events a second, each published by itself.
        one_in: one event of so many is left out, the first, (one_in + 1)-th, and so on.
    """

    def __init__(self, server: str, prefix: str, *, rate: float, one_in: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._stopping = context.Event()
        self._facts: Any = context.SimpleQueue()
        arguments = (server, prefix, rate, one_in, self._stopping, self._facts)
        self._process = context.Process(target=_produce, args=arguments, daemon=True)
        self.report: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._process.join(JOIN_S)
        self.report = {} if self._facts.empty() else self._facts.get()


def _produce(server: str, prefix: str, rate: float, one_in: int, stopping: Event, facts: Any) -> None:  # noqa: ANN401
    rng, failed, n_published = random.Random("producers"), threading.Event(), 0

    def note(durable: Future[Any]) -> None:
        if durable.exception() is not None:
            failed.set()

    with opened_log(server, prefix=prefix) as log:
        started = due = time.perf_counter()
        for event in _events(one_in):
            if stopping.wait(max(0.0, due - time.perf_counter())):
                break
            due += rng.expovariate(rate)
            now = msgspec.structs.replace(event, ts_ms=time.time_ns() // 1_000_000)
            log.publish(EVENTS, [Message(now.user_id.encode(), encode(now))]).add_done_callback(note)
            n_published += 1
        seconds = time.perf_counter() - started
    facts.put({"events_per_s": round(n_published / seconds, 1), "failed": float(failed.is_set())})


def _events(one_in: int) -> Iterator[Interaction]:
    live = islice(SyntheticDataset(SyntheticConfig(n_interactions=N_ALL)).interactions(), N_PAST, None)
    return (event for place, event in enumerate(live) if place % one_in)
