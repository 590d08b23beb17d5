from contextlib import closing
from pathlib import Path

import pytest

from freshet.opening import open_log
from freshet.settings import BadSettings, Settings

SECURITY = {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_username": "ada"}


def test_brokers_are_meant_where_only_the_way_to_them_is_given(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, **SECURITY)  # type: ignore[arg-type]

    with pytest.raises(BadSettings, match=r"kafka_sasl_username, kafka_security_protocol are set, and log is not: set"):
        open_log(settings, tmp_path / "log.sqlite")
    assert not (tmp_path / "log.sqlite").exists()


def test_embedded_log_that_is_asked_for_is_opened_whatever_is_known_of_brokers(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, log="embedded", **SECURITY)  # type: ignore[arg-type]

    with closing(open_log(settings, tmp_path / "log.sqlite")):
        assert (tmp_path / "log.sqlite").exists()
