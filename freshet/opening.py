"""Opens the log that the settings name, with Freshet's topics on it."""

from pathlib import Path

import structlog

from freshet.settings import EMBEDDED, BadSettings, Settings
from stream.embedded.log import EmbeddedLog
from stream.kafka.log import KafkaLog, missing_checksum
from stream.kafka.settings import KafkaSettings
from stream.topics import DAY_MS, topics

BYTES_PER_MB = 1_000_000


def open_log(settings: Settings, path: Path) -> EmbeddedLog | KafkaLog:
    """The log in force.

    Args:
        settings: Of this process.
        path: Of the embedded log's file.

    Raises:
        BadSettings: no log is named, and how its brokers are talked to is.
        LogBusy: another process has the embedded log.
        LogUnavailable: the file cannot be written, or no broker answers.
        TopicDiffers: a topic exists with other partitions or settings.
        ValueError: the URL or a security setting cannot be used.
    """
    known = topics(settings.partitions, retention_ms=int(settings.retention_days * DAY_MS))
    if "log" not in settings.model_fields_set and settings.of_brokers():
        raise BadSettings(
            f"{', '.join(settings.of_brokers())} are set, and log is not: set it to kafka://host:port, or to {EMBEDDED}"
        )
    if settings.is_embedded:
        max_bytes = settings.log_max_mb * BYTES_PER_MB if settings.log_max_mb else None
        return EmbeddedLog(path, known, max_bytes=max_bytes)
    warning = missing_checksum()
    if warning:
        structlog.get_logger().warning("kafka_is_slow", reason=warning)
    return KafkaLog(kafka_settings(settings), known)


def kafka_settings(settings: Settings) -> KafkaSettings:
    """How brokers are reached, as kafka-python names it."""
    password = settings.kafka_sasl_password
    security = {
        "security_protocol": settings.kafka_security_protocol,
        "sasl_mechanism": settings.kafka_sasl_mechanism,
        "sasl_plain_username": settings.kafka_sasl_username,
        "sasl_plain_password": password.get_secret_value() if password else None,
        "ssl_cafile": _text(settings.kafka_ssl_cafile),
        "ssl_certfile": _text(settings.kafka_ssl_certfile),
        "ssl_keyfile": _text(settings.kafka_ssl_keyfile),
    }
    return KafkaSettings.from_url(
        settings.log, security={name: value for name, value in security.items() if value is not None}
    )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
