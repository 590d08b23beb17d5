"""What a cluster's settings accept, and what they never show."""

import pytest

from stream.kafka.log import missing_checksum
from stream.kafka.settings import KafkaSettings


def test_a_url_names_brokers_and_prefix() -> None:
    settings = KafkaSettings.from_url("kafka://one.example:9093,two.example/shop-")
    assert settings.servers == ("one.example:9093", "two.example:9092")
    assert settings.prefix == "shop-"


@pytest.mark.parametrize("url", ["http://a:9092", "a:9092", "kafka://user:secret@a:9092"])
def test_anything_else_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="kafka://host:port,host:port/prefix, without a password") as refused:
        KafkaSettings.from_url(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("servers", "changes", "expected"),
    [
        ((), {}, r"servers=\(\): name brokers as host:port, like kafka.example:9092"),
        (("a",), {}, r"servers=\('a',\): name brokers as host:port"),
        (("a:1",), {"prefix": "ä/"}, "prefix='ä/': up to 200 letters, digits"),
        (
            ("a:1",),
            {"security": {"sasl_plain_user": "u"}},
            r"\['sasl_plain_user'\] are not known; use security_protocol",
        ),
        (("a:1",), {"session_timeout_s": 0.5}, "session_timeout_s=0.5: at least 1 second"),
        (("a:1",), {"delivery_timeout_s": 5.0}, "delivery_timeout_s=5.0 must be at least request_timeout_s=10.0"),
    ],
)
def test_what_cannot_work_is_refused(servers: tuple[str, ...], changes: dict[str, object], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        KafkaSettings(servers, **changes)  # type: ignore[arg-type]


def test_security_is_given_to_every_client_and_never_shown() -> None:
    security = {"security_protocol": "SASL_SSL", "sasl_plain_password": "hush", "ssl_cafile": None}
    settings = KafkaSettings(("a:9092",), security=security)
    assert settings.client()["sasl_plain_password"] == "hush"
    assert "ssl_cafile" not in settings.client()
    assert "hush" not in repr(settings)


def test_reader_commits_nothing_by_itself_and_sends_ten_heartbeats_a_session() -> None:
    config = KafkaSettings(("a:9092",), prefix="p-", session_timeout_s=6.0).consumer("g")
    assert config["enable_auto_commit"] is False
    assert (config["group_id"], config["heartbeat_interval_ms"]) == ("p-g", 600)


def test_a_missing_checksum_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing_checksum() is None
    monkeypatch.setattr("stream.kafka.log.find_spec", lambda _: None)
    assert "five times slower" in (missing_checksum() or "")
