import re
from pathlib import Path

import pytest

from stream.worker_settings import BadWorkerSettings, WorkerSettings

LOG = {"FRESHET_LOG": "kafka://broker:9092/shop-"}


def test_log_alone_is_enough() -> None:
    settings = WorkerSettings.from_environment(LOG)

    assert settings.kafka.servers == ("broker:9092",)
    assert settings.app_id == "shop-worker"
    assert (settings.partitions, settings.sequence_length, settings.standbys) == (4, 50, 1)
    assert (settings.attribution.window_ms, settings.attribution.lateness_ms) == (1_800_000, 120_000)


def test_variables_are_those_of_the_service() -> None:
    settings = WorkerSettings.from_environment(
        LOG
        | {
            "FRESHET_PARTITIONS": "8",
            "FRESHET_ATTRIBUTION_WINDOW_S": "60",
            "FRESHET_LATENESS_S": "1.5",
            "FRESHET_WORKER_DATA_DIR": "/data/worker",
            "FRESHET_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "FRESHET_KAFKA_SASL_PASSWORD": "secret-word",
            "FRESHET_KINDS": '[{"name": "read"}]',
        }
    )

    assert (settings.partitions, settings.data_dir) == (8, Path("/data/worker"))
    assert (settings.attribution.window_ms, settings.attribution.lateness_ms) == (60_000, 1_500)
    assert settings.kafka.security["sasl_plain_password"] == "secret-word"
    assert settings.kinds.names == ("read",)
    assert "secret-word" not in repr(settings)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("LOG", "embedded", "FRESHET_LOG='embedded': workers need a Kafka log; set it to kafka://"),
        ("LOG", "redis://ada:secret@a", "FRESHET_LOG='redis://***@a': workers need a Kafka log"),
        ("LOG", "kafka://ada:secret@a", "FRESHET_LOG='kafka://***@a' cannot be used: the log's URL must look like"),
        ("LOG", "kafka://", "FRESHET_LOG='kafka://' cannot be used: servers="),
        ("PARTITIONS", "many", "FRESHET_PARTITIONS='many' cannot be used: invalid literal"),
        ("PARTITIONS", "0", "FRESHET_PARTITIONS=0: 1 to 128 are possible"),
        ("WORKER_SESSION_TIMEOUT_S", "1", "FRESHET_WORKER_SESSION_TIMEOUT_S=1.0: 2.0 to 1800 are possible"),
        ("METRICS_PORT", "70000", "FRESHET_METRICS_PORT=70000: 0 to 65535 are possible"),
        ("ATTRIBUTION_WINDOW_S", "0", "FRESHET_ATTRIBUTION_WINDOW_S='0' cannot be used: at least 1 ms is possible"),
        ("LATENESS_S", "-1", "FRESHET_LATENESS_S='-1' cannot be used: at least 0 ms is possible"),
        ("LATENESS_S", "inf", "FRESHET_LATENESS_S='inf' cannot be used: cannot convert float infinity"),
        ("RETENTION_DAYS", "0", "FRESHET_RETENTION_DAYS='0' cannot be used: at least 1 ms is possible"),
        (
            "KAFKA_SASL_PASSWORD",
            "secret-word",
            "FRESHET_KAFKA_SECURITY_PROTOCOL=PLAINTEXT does not use FRESHET_KAFKA_SASL_PASSWORD; ",
        ),
        (
            "KAFKA_SSL_CAFILE",
            "nowhere.pem",
            "FRESHET_KAFKA_SSL_CAFILE='nowhere.pem' cannot be used: there is no such file",
        ),
        (
            "WORKER_STANDBY",
            "0",
            "unknown FRESHET_WORKER_STANDBY; there are FRESHET_WORKER_DATA_DIR, FRESHET_WORKER_IDLE_S, "
            "FRESHET_WORKER_SESSION_TIMEOUT_S, FRESHET_WORKER_STANDBYS, FRESHET_WORKER_STUCK_S",
        ),
        (
            "KINDS",
            '[{"name": "read", "weight": 1.0}]',
            "cannot be used: Object contains unknown field `weight` - at `$[0]`",
        ),
        ("KINDS", "[]", "FRESHET_KINDS='[]' cannot be used: 0 event kinds given"),
    ],
)
def test_bad_variable_is_refused_with_its_name_and_what_may_be_given(variable: str, value: str, message: str) -> None:
    with pytest.raises(BadWorkerSettings, match=re.escape(message)):
        WorkerSettings.from_environment(LOG | {f"FRESHET_{variable}": value})


def test_importing_the_app_module_reads_no_settings() -> None:
    import stream.worker  # noqa: PLC0415 - what is tested

    with pytest.raises(AttributeError, match="no attribute 'other'"):
        stream.worker.other  # noqa: B018
