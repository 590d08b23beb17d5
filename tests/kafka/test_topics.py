"""Topics on a real broker: made as asked for, and refused with the reason where they are otherwise."""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from broker.cluster import Cluster
from stream.kafka.log import KafkaLog
from stream.kafka.settings import KafkaSettings
from stream.log import TopicDiffers
from stream.topics import DAY_MS, Topic
from tests.waiting import wait_until

pytestmark = pytest.mark.kafka
EVENTS = Topic("events", 3, retention_ms=7 * DAY_MS, max_message_bytes=65_536)
ITEMS = Topic("items", 2, compacted=True, max_message_bytes=2_000_000)
TOPICS = {"events": EVENTS, "items": ITEMS}


@pytest.fixture
def settings(broker: Cluster) -> KafkaSettings:
    return KafkaSettings((broker.addresses,), prefix=f"t{uuid.uuid4().hex[:12]}-")


@pytest.fixture
def admin(settings: KafkaSettings) -> Iterator[KafkaAdminClient]:
    with closing(KafkaAdminClient(**settings.client())) as admin:
        yield admin


def configs(admin: KafkaAdminClient, name: str) -> dict[str, str]:
    wanted = ConfigResource(ConfigResourceType.TOPIC, name)
    found = admin.describe_configs([wanted], config_filter="all")["topic"][name]
    return {key: config["value"] for key, config in found.items()}


def make(admin: KafkaAdminClient, name: str, n_partitions: int, **changes: str) -> None:
    """A topic as `EVENTS` would be, but for the changes; their names with _ for . ."""
    as_asked = {
        "cleanup.policy": "delete",
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": str(7 * DAY_MS),
        "max.message.bytes": "1049600",
    }
    changed = {key.replace("_", "."): value for key, value in changes.items()}
    admin.create_topics({name: {"num_partitions": n_partitions, "configs": {**as_asked, **changed}}})


def test_missing_topics_are_made_as_asked_for(settings: KafkaSettings, admin: KafkaAdminClient) -> None:
    KafkaLog(settings, TOPICS).close()
    events, items = (configs(admin, settings.prefix + name) for name in ("events", "items"))
    assert (events["cleanup.policy"], items["cleanup.policy"]) == ("delete", "compact")
    assert (events["retention.ms"], items["retention.ms"]) == ("604800000", "-1")
    assert (events["max.message.bytes"], items["max.message.bytes"]) == ("1049600", "2001024")
    assert events["message.timestamp.type"] == items["message.timestamp.type"] == "LogAppendTime"
    (described,) = admin.describe_topics([settings.prefix + "events"])
    assert len(described["partitions"]) == 3


def test_processes_that_start_at_once_all_find_their_topics(settings: KafkaSettings) -> None:
    with ThreadPoolExecutor(4) as starting:
        logs = list(starting.map(lambda _: KafkaLog(settings, TOPICS), range(4)))
    assert len({log.log_id for log in logs}) == 1
    for log in logs:
        log.close()


def test_another_number_of_partitions_is_refused(settings: KafkaSettings, admin: KafkaAdminClient) -> None:
    make(admin, settings.prefix + "events", 5)
    with pytest.raises(TopicDiffers, match=r"events' has 5 partitions and partitions=3 is asked for.*set 5, or use a"):
        KafkaLog(settings, {"events": EVENTS})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cleanup_policy": "compact"}, "has cleanup.policy=compact and delete is asked for"),
        ({"message_timestamp_type": "CreateTime"}, "message.timestamp.type=CreateTime and LogAppendTime is asked for"),
        ({"max_message_bytes": "65536"}, "has max.message.bytes=65536 and 1049600 is asked for"),
        ({"retention_ms": "86400000"}, "has retention.ms=86400000 and 604800000 is asked for"),
    ],
)
def test_a_setting_that_loses_something_is_refused_with_the_command_that_alters_it(
    settings: KafkaSettings, admin: KafkaAdminClient, changes: dict[str, str], expected: str
) -> None:
    make(admin, settings.prefix + "events", 3, **changes)
    with pytest.raises(TopicDiffers, match=rf"{expected}; alter it with `kafka-configs.sh --alter --topic t"):
        KafkaLog(settings, {"events": EVENTS})


@pytest.mark.parametrize("changes", [{"retention_ms": "-1"}, {"max_message_bytes": "5000000"}])
def test_more_than_was_asked_for_is_taken(
    settings: KafkaSettings, admin: KafkaAdminClient, changes: dict[str, str]
) -> None:
    make(admin, settings.prefix + "events", 3, **changes)
    KafkaLog(settings, {"events": EVENTS}).close()


def test_a_topic_that_was_deleted_and_made_again_is_another_log(
    settings: KafkaSettings, admin: KafkaAdminClient
) -> None:
    with closing(KafkaLog(settings, TOPICS)) as log:
        first = log.log_id
    name = settings.prefix + "events"
    admin.delete_topics([name])
    wait_until(lambda: admin.describe_topics([name])[0]["error_code"] != 0, "the topic to be gone")
    with closing(KafkaLog(settings, TOPICS)) as log:
        assert log.log_id != first
