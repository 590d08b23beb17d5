"""kafka-python's errors as the log's: whatever it raises, brokers that do not answer are `LogUnavailable`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from kafka.errors import KafkaError

from stream.log import LogUnavailable

Client = TypeVar("Client")


def connected(make: Callable[..., Client], config: Mapping[str, Any]) -> Client:
    """A client that has found its brokers.

    Raises:
        LogUnavailable: none answers, or it does not let us in.
    """
    with answering(f"connecting to {', '.join(config['bootstrap_servers'])}"):
        return make(**config)


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
        raise LogUnavailable(f"{doing}: {type(exc).__name__}: {exc}; are the brokers up?") from exc
