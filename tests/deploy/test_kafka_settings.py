"""The broker's settings in docker-compose.yml, given to a real broker of the same version."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from kafka import KafkaAdminClient

from broker.cluster import Cluster
from tests.deploy.tools import COMPOSE, ROOT

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PREFIX = "KAFKA_"
NOT_PROPERTIES = {"KAFKA_HEAP_OPTS"}
OF_THE_PLACE = {"listeners", "advertised.listeners", "controller.quorum.voters", "log.dirs"}  # set for loopback here


def properties() -> dict[str, str]:
    """As the image makes them of its environment."""
    environment = yaml.safe_load(COMPOSE.read_text())["services"]["kafka"]["environment"]
    named = {name: str(value) for name, value in environment.items() if name not in NOT_PROPERTIES}
    return {name.removeprefix(PREFIX).lower().replace("_", "."): value for name, value in named.items()}


@pytest.fixture
def composed(broker_jars: Path, tmp_path: Path) -> Iterator[Cluster]:
    given = {name: value for name, value in properties().items() if name not in OF_THE_PLACE}
    with Cluster(tmp_path, cache=broker_jars, properties=given) as running:
        yield running


def test_broker_starts_with_them_and_makes_no_topic_unasked(composed: Cluster) -> None:
    admin = KafkaAdminClient(bootstrap_servers=composed.addresses)
    try:
        assert admin.list_topics() == []
    finally:
        admin.close()
    assert properties()["auto.create.topics.enable"] == "false"


def test_image_is_of_the_version_that_tests_run_on() -> None:
    image = yaml.safe_load(COMPOSE.read_text())["services"]["kafka"]["image"]

    assert f">{image.removeprefix('apache/kafka:')}<" in (ROOT / "broker" / "pom.xml").read_text()
