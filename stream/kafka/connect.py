"""Clients of kafka-python, and its errors as the log's: brokers that do not answer are `LogUnavailable`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from kafka.errors import KafkaError, RetriableError, UnknownBrokerIdError

from stream.kafka.network import Network
from stream.log import LogUnavailable

Client = TypeVar("Client")
Answer = TypeVar("Answer")
_ASK_AGAIN_S = 0.05
_PASSING = (RetriableError, UnknownBrokerIdError)  # the latter of partitions whose leader is gone


def connected(make: Callable[..., Client], config: Mapping[str, Any]) -> Client:
    """A client that has found its brokers.

    kafka-python leaves its thread behind when it finds none, and does not say why; so its network is made here.

    Raises:
        LogUnavailable: none answers, or it does not let us in.
    """
    networks: list[Network] = []

    def network(**configs: object) -> Network:
        networks.append(Network(**configs))
        return networks[-1]

    try:
        client = make(**config, kafka_client=network)
    except (KafkaError, OSError) as exc:
        errors = (exc, *(network.last_error for network in networks))
        reasons = [reason(error) for error in errors if error is not None]
        for made in networks:
            made.close()
        raise LogUnavailable(f"connecting to {', '.join(config['bootstrap_servers'])}: {'; '.join(reasons)}") from exc
    for made in networks:
        made.stop_noting()
    return client


@contextmanager
def answering(doing: str) -> Iterator[None]:
    """Inside, brokers are asked.

    Args:
        doing: what for, for the message.

    Raises:
        LogUnavailable: for every error of kafka-python.
    """
    try:
        yield
    except (KafkaError, OSError) as exc:
        raise LogUnavailable(f"{doing}: {reason(exc)}; are the brokers up?") from exc


def answered(ask: Callable[[], Answer], *, doing: str, timeout_s: float) -> Answer:
    """Ask again while the brokers are not to be reached, as they are for a moment after each of their starts.

    Raises:
        LogUnavailable: not within timeout_s, or for a reason that will last.
    """
    deadline_s = time.monotonic() + timeout_s
    with answering(doing):
        while True:
            try:
                return ask()
            except _PASSING:
                if time.monotonic() > deadline_s:
                    raise
            time.sleep(_ASK_AGAIN_S)


def reason(exc: BaseException) -> str:
    """An error's name and text; those of kafka-python begin with their name."""
    text = str(exc)
    return text if isinstance(exc, KafkaError) else f"{type(exc).__name__}: {text}"
