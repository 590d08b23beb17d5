"""A broker that lets in only who has a password, over TLS with certificates made here."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from kafka.admin import KafkaAdminClient, UserScramCredentialUpsertion

from broker.jars import jars
from broker.node import HOST, Node, NodeSettings, free_port
from stream.kafka.log import KafkaLog
from stream.kafka.settings import KafkaSettings
from stream.log import LogUnavailable, Message
from stream.topics import Topic
from tests.kafka.worker_process import N_PARTITIONS, World
from tests.kafka.worker_traffic import ending, expected_outcomes, traffic
from tests.skipping import skip_unless_ci

pytestmark = pytest.mark.kafka
TOPICS = {"events": Topic("events", 2)}
PASSWORD = "correct horse"  # of the test's own broker


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """key.pem and certificate.pem, the latter signed by itself; and one of a stranger."""
    if shutil.which("openssl") is None:
        skip_unless_ci("no openssl here to make certificates with")
    folder = tmp_path_factory.mktemp("certificates")
    for key, certificate in (("key.pem", "certificate.pem"), ("stranger-key.pem", "stranger.pem")):
        names = ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=IP:{HOST}"]
        files = ["-keyout", str(folder / key), "-out", str(folder / certificate)]
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *files]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    both = (folder / "key.pem").read_text() + (folder / "certificate.pem").read_text()
    (folder / "broker.pem").write_text(both)
    return folder


class Secured(NamedTuple):
    """Where the broker listens."""

    addresses: str  # for everybody, as the tests themselves use it
    safe: str  # over TLS for user "freshet", by PLAIN and by SCRAM


@pytest.fixture(scope="module")
def secured(broker_jars: Path, certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    port, controller, safe = free_port(), free_port(), free_port()
    listeners = f"PLAINTEXT://{HOST}:{port},SASL_SSL://{HOST}:{safe}"
    security = "org.apache.kafka.common.security"
    properties = {
        "listeners": f"{listeners},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": listeners,
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": f"{security}.plain.PlainLoginModule required "
        f'user_freshet="{PASSWORD}";',
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{security}.scram.ScramLoginModule required;",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(certificates / "broker.pem"),
    }
    settings = NodeSettings(1, {1: port}, {1: controller}, properties)
    node = Node(settings, tmp_path_factory.mktemp("secured") / "node", jars(broker_jars))
    try:
        node.start()
        node.wait()
        with closing(KafkaAdminClient(bootstrap_servers=node.address)) as admin:
            admin.alter_user_scram_credentials([UserScramCredentialUpsertion("freshet", "SCRAM-SHA-512", PASSWORD)])
        yield Secured(node.address, f"{HOST}:{safe}")
    finally:
        node.stop()


@pytest.fixture
def settings(secured: Secured, certificates: Path) -> KafkaSettings:
    return KafkaSettings(
        (secured.safe,),
        security={
            "security_protocol": "SASL_SSL",
            "ssl_cafile": str(certificates / "certificate.pem"),
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": "freshet",
            "sasl_plain_password": PASSWORD,
        },
        request_timeout_s=5.0,
    )


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_with_password_and_certificate_records_go_and_come(settings: KafkaSettings, mechanism: str) -> None:
    known = replace(settings, security={**settings.security, "sasl_mechanism": mechanism})
    with closing(KafkaLog(replace(known, prefix=mechanism), TOPICS)) as log:
        log.publish("events", [Message(b"k", b"%d" % i) for i in range(100)]).result(20)
        with closing(log.reader("events", group="g")) as reader:
            records = reader.poll(max_records=100, timeout_s=20)
            reader.commit()
            assert [record.value for record in records] == [b"%d" % i for i in range(100)]
            assert sum(reader.committed().values()) == 100


def test_a_wrong_password_is_refused_and_not_shown(settings: KafkaSettings) -> None:
    wrong = replace(settings, security={**settings.security, "sasl_plain_password": "battery"}, request_timeout_s=6.0)
    # The broker says why and hangs up at once; kafka-python drops an answer that comes together with the end.
    with pytest.raises(LogUnavailable, match=r"SaslAuthenticationFailedError|socket disconnected") as refused:
        KafkaLog(wrong, TOPICS)
    assert "battery" not in str(refused.value)


def test_a_broker_with_a_certificate_nobody_vouches_for_is_refused(settings: KafkaSettings, certificates: Path) -> None:
    stranger = {**settings.security, "ssl_cafile": str(certificates / "stranger.pem")}
    with pytest.raises(LogUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        KafkaLog(replace(settings, security=stranger, request_timeout_s=2.0), TOPICS)


def test_a_broker_that_does_not_answer_a_handshake_is_given_up(settings: KafkaSettings) -> None:
    with closing(socket.create_server((HOST, 0))) as silent:
        servers = (f"{HOST}:{silent.getsockname()[1]}",)
        with pytest.raises(LogUnavailable, match="Unable to bootstrap"):
            KafkaLog(replace(settings, servers=servers, request_timeout_s=1.0), TOPICS)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_a_worker_joins_with_password_and_certificate(
    secured: Secured, certificates: Path, tmp_path: Path, mechanism: str
) -> None:
    said = traffic(300, start_ms=time.time_ns() // 1_000_000 - 3_600_000)
    said += ending(said, N_PARTITIONS)
    expected = expected_outcomes(said)
    with World(secured, tmp_path) as world:
        world.say(said)
        worker = world.worker(
            "one",
            LOG=f"kafka://{secured.safe}/{world.prefix}",
            KAFKA_SECURITY_PROTOCOL="SASL_SSL",
            KAFKA_SSL_CAFILE=str(certificates / "certificate.pem"),
            KAFKA_SASL_MECHANISM=mechanism,
            KAFKA_SASL_USERNAME="freshet",
            KAFKA_SASL_PASSWORD=PASSWORD,
        )
        worker.start().wait_until_ready()
        outcomes = world.wait_for_outcomes(expected)
        assert PASSWORD not in worker.printed()
    assert {outcome.outcome_id: outcome for outcome in outcomes} == expected
    assert len(expected) > 20


@pytest.mark.slow
def test_a_worker_with_a_wrong_password_is_refused_in_a_line(
    secured: Secured, certificates: Path, tmp_path: Path
) -> None:
    with World(secured, tmp_path) as world:
        worker = world.worker(
            "one",
            LOG=f"kafka://{secured.safe}/{world.prefix}",
            KAFKA_SECURITY_PROTOCOL="SASL_SSL",
            KAFKA_SSL_CAFILE=str(certificates / "certificate.pem"),
            KAFKA_SASL_MECHANISM="SCRAM-SHA-512",
            KAFKA_SASL_USERNAME="freshet",
            KAFKA_SASL_PASSWORD="battery",
        )
        assert worker.start().wait(60) == 1
        printed = worker.printed()
    assert "worker cannot start: connecting to" in printed
    assert "Traceback" not in printed
    assert "battery" not in printed
