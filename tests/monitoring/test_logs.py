"""What a log line looks like, and which lines are written."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser

from monitoring.logs import configure_logging


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    logging.getLogger("python_multipart").setLevel(logging.NOTSET)


def test_a_json_line_carries_the_event_its_level_and_its_fields() -> None:
    out = io.StringIO()
    configure_logging("info", json=True, stream=out)

    structlog.get_logger().warning("role_restarted", role="sequences", attempt=2)

    line = json.loads(out.getvalue())
    assert line["event"] == "role_restarted"
    assert line["level"] == "warning"
    assert line["role"] == "sequences"
    assert line["attempt"] == 2


def test_a_line_below_the_level_is_not_written() -> None:
    out = io.StringIO()
    configure_logging("warning", json=True, stream=out)

    structlog.get_logger().info("feed_made")

    assert out.getvalue() == ""


def test_a_readable_line_has_no_colour_codes_when_it_goes_to_a_file() -> None:
    out = io.StringIO()
    configure_logging("info", stream=out)

    structlog.get_logger().info("model_swapped", version="v2")

    assert "model_swapped" in out.getvalue()
    assert "\x1b[" not in out.getvalue()


def test_an_exception_is_written_into_the_json_line() -> None:
    out = io.StringIO()
    configure_logging("info", json=True, stream=out)

    try:
        raise OSError("disk full")
    except OSError:
        structlog.get_logger().exception("snapshot_failed")

    assert "OSError: disk full" in json.loads(out.getvalue())["exception"]


def test_an_unknown_level_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'loud' is not known; use one of debug, info, warning, error"):
        configure_logging("loud")


class FullDisk(io.StringIO):
    """Takes no line."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_line_that_cannot_be_written_is_dropped_and_does_not_stop_what_logs_it() -> None:
    configure_logging("info", stream=FullDisk())

    structlog.get_logger().error("role_failed", reason="the disk is full")


def test_a_line_for_a_stream_that_was_closed_or_cannot_encode_it_is_dropped_too() -> None:
    closed = io.StringIO()
    configure_logging("info", stream=closed)
    closed.close()
    structlog.get_logger().info("partition_gained")

    configure_logging("info", stream=io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    structlog.get_logger().info("partition_gained", user="\ud800")


def test_a_trace_shows_no_values_as_they_may_be_what_users_sent() -> None:
    out = io.StringIO()
    configure_logging("info", stream=out)
    title = "".join(("a title ", "that a user sent"))

    try:
        raise RuntimeError("not placed")
    except RuntimeError:
        structlog.get_logger().exception("role_failed", n_titles=len([title]))

    assert "RuntimeError: not placed" in out.getvalue()
    assert title not in out.getvalue()


def test_a_body_that_is_no_multipart_is_told_to_its_client_alone(caplog: pytest.LogCaptureFixture) -> None:
    configure_logging("debug", stream=io.StringIO())

    with pytest.raises(MultipartParseError):
        MultipartParser(b"x", {}).write(b"--y")

    assert caplog.records == []
