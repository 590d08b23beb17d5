"""What is asked of a log, checked before it does anything; the same for every log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple, TypeVar

from stream.log import Message, MessageTooLarge, OnPartitions, Position, UnknownTopic
from stream.partition import partition_of
from stream.topics import Topic

_T = TypeVar("_T")


class Placed(NamedTuple):
    """Where the messages of one publish go."""

    partitions: list[int]  # of each message
    n_bytes: int  # keys and values


class Subscription(NamedTuple):
    """What a reader reads: its share of a group, or partitions by name."""

    group: str | None
    partitions: tuple[int, ...]  # when there is no group
    on_gained: OnPartitions | None
    on_lost: OnPartitions | None


def named(topics: Mapping[str, _T], name: str) -> _T:
    """What a log knows of a topic.

    Raises:
        UnknownTopic: not a topic of this log.
    """
    try:
        return topics[name]
    except KeyError:
        raise UnknownTopic(f"topic {name!r} is not one of {', '.join(topics)}") from None


def placed(topic: Topic, messages: Sequence[Message], turns: Iterator[int]) -> Placed:
    """Where messages go; all are refused when one is.

    Args:
        topic: theirs.
        messages: to be published together.
        turns: one number after the other, for messages without a key.

    Raises:
        MessageTooLarge: one is above the topic's limit.
        ValueError: one has neither key nor value.
    """
    limit = topic.max_message_bytes
    partitions, n_bytes = [], 0
    for key, value in messages:
        size = (len(key) if key else 0) + (len(value) if value else 0)
        if size > limit:
            raise MessageTooLarge(f"message of {size} bytes for topic {topic.name!r}; the limit is {limit}: send less")
        n_bytes += size
        if key is not None:
            partitions.append(partition_of(key, topic.partitions))
        elif value is not None:
            partitions.append(next(turns) % topic.partitions)
        else:
            raise ValueError(f"message for topic {topic.name!r} with neither key nor value; give one")
    return Placed(partitions, n_bytes)


def nothing_to_do() -> Future[list[Position]]:
    """The answer to a publish of no messages."""
    future: Future[list[Position]] = Future()
    future.set_result([])
    return future


def check_share(topic: Topic, group: str | None, partitions: Sequence[int] | None) -> None:
    """What a reader is to read.

    Raises:
        UnknownTopic: a partition that the topic does not have.
        ValueError: both or neither of group and partitions.
    """
    if (group is None) == (partitions is None):
        raise ValueError(f"reader of {topic.name!r}: group={group!r}, partitions={partitions!r}; give one")
    unknown = [p for p in partitions or () if not 0 <= p < topic.partitions]
    if unknown:
        raise UnknownTopic(f"topic {topic.name!r} has partitions 0 to {topic.partitions - 1}, not {unknown}")
