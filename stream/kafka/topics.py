"""The topics on the brokers: made where they are missing, compared with what is asked for where they are there."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.errors import NoError, TopicAlreadyExistsError, for_code

from stream.log import LogUnavailable, TopicDiffers
from stream.topics import MAX_MESSAGE_BYTES, Topic

OVERHEAD_BYTES = 1_024  # of a batch with one message: header, sizes, offsets
READY_TIMEOUT_S = 30.0
_LOOK_AGAIN_S = 0.05
_KEEP_ALL = -1  # Kafka's retention.ms
_CHECKED = ("cleanup.policy", "message.timestamp.type", "max.message.bytes", "retention.ms")


class Found(NamedTuple):
    """A topic as it is on the brokers."""

    topic_id: str
    n_partitions: int
    configs: Mapping[str, str]


def ensure_topics(admin: KafkaAdminClient, topics: Mapping[str, Topic], *, prefix: str) -> dict[str, Found]:
    """Check the topics that are there, then make the missing ones.

    In this order, so that a number of partitions that is wrong for one topic is not made in all others. Another
    process may do the same at the same time.

    Args:
        admin: a connected client.
        topics: by our name.
        prefix: of their names on the brokers.

    Returns:
        What is there now, by our name.

    Raises:
        TopicDiffers: a topic has other partitions or settings; nothing is made or changed.
        LogUnavailable: a topic cannot be made, or has no leader in time.
    """
    names = {prefix + name: topic for name, topic in topics.items()}
    there = _described(admin, list(names))
    found = _checked(admin, {name: topic for name, topic in names.items() if name in there})
    missing = {name: topic for name, topic in names.items() if name not in there}
    if missing:
        _create(admin, missing)
        found |= _checked(admin, missing)  # another process may have made them, as it wants them
    return {topic.name: found[name] for name, topic in names.items()}


def wanted_configs(topic: Topic) -> dict[str, str]:
    """A topic's settings on Kafka; replicas are as many as the brokers' default says."""
    retention_ms = _KEEP_ALL if topic.retention_ms is None else topic.retention_ms
    # A batch of many small messages must fit as well, or brokers refuse what the client has gathered.
    largest_bytes = max(topic.max_message_bytes, MAX_MESSAGE_BYTES) + OVERHEAD_BYTES
    return {
        "cleanup.policy": "compact" if topic.compacted else "delete",
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(largest_bytes),
        "retention.ms": str(retention_ms),
    }


def _checked(admin: KafkaAdminClient, names: Mapping[str, Topic]) -> dict[str, Found]:
    found = _ready(admin, list(names)) if names else {}
    for name, topic in names.items():
        _compare(name, topic, found[name])
    return found


def _create(admin: KafkaAdminClient, missing: Mapping[str, Topic]) -> None:
    wanted = {
        name: {"num_partitions": topic.partitions, "configs": wanted_configs(topic)} for name, topic in missing.items()
    }
    for made in admin.create_topics(wanted, raise_errors=False)["topics"]:
        error = for_code(made["error_code"])
        if error not in (NoError, TopicAlreadyExistsError):  # another process may have been a moment quicker
            raise LogUnavailable(
                f"topic {made['name']!r} cannot be made: {error.__name__}: {made['error_message']}; "
                "make it by hand, or allow us to"
            )


def _described(admin: KafkaAdminClient, names: list[str]) -> dict[str, dict[str, Any]]:
    """Topics that are there and can be used."""
    described = {topic["name"]: topic for topic in admin.describe_topics(names)}
    return {name: topic for name, topic in described.items() if topic["error_code"] == 0}


def _ready(admin: KafkaAdminClient, names: list[str]) -> dict[str, Found]:
    """The topics, once every partition has a leader."""
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while True:
        described = _described(admin, names)
        late = [name for name in names if name not in described or not _has_leaders(described[name])]
        if not late:
            break
        if time.monotonic() > deadline_s:
            raise LogUnavailable(f"topics {late} have no leaders after {READY_TIMEOUT_S} s; are all brokers up?")
        time.sleep(_LOOK_AGAIN_S)
    wanted = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    configs = admin.describe_configs(wanted, config_filter="all")["topic"]
    return {
        name: Found(
            str(described[name]["topic_id"]),
            len(described[name]["partitions"]),
            {key: configs[name][key]["value"] for key in _CHECKED},
        )
        for name in names
    }


def _has_leaders(described: Mapping[str, Any]) -> bool:
    return bool(described["partitions"]) and all(p["leader_id"] >= 0 for p in described["partitions"])


def _compare(name: str, topic: Topic, found: Found) -> None:
    if found.n_partitions != topic.partitions:
        raise TopicDiffers(
            f"topic {name!r} has {found.n_partitions} partitions and partitions={topic.partitions} is asked for; keys "
            f"would change places: set {found.n_partitions}, or use a new prefix"
        )
    wanted = wanted_configs(topic)
    for key in ("cleanup.policy", "message.timestamp.type"):
        if found.configs[key] != wanted[key]:
            raise _differs(name, key, found.configs[key], wanted[key])
    if int(found.configs["max.message.bytes"]) < topic.max_message_bytes + OVERHEAD_BYTES:
        raise _differs(name, "max.message.bytes", found.configs["max.message.bytes"], wanted["max.message.bytes"])
    kept_ms = int(found.configs["retention.ms"])
    is_kept_long_enough = kept_ms == _KEEP_ALL or (topic.retention_ms is not None and kept_ms >= topic.retention_ms)
    if not topic.compacted and not is_kept_long_enough:
        raise _differs(name, "retention.ms", found.configs["retention.ms"], wanted["retention.ms"])


def _differs(name: str, key: str, found: str, wanted: str) -> TopicDiffers:
    return TopicDiffers(
        f"topic {name!r} has {key}={found} and {wanted} is asked for; alter it with "
        f"`kafka-configs.sh --alter --topic {name} --add-config {key}={wanted}`, or use a new prefix"
    )
