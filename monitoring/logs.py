"""How the process logs: structlog, one line an event of note, as JSON for machines or as text for people.

The event name is a constant in snake_case and the facts are fields. Nothing here runs at import;
the entry point calls :func:`configure_logging` once.
"""

import logging
import sys
from contextlib import suppress
from typing import TextIO

import structlog

LEVELS = ("debug", "info", "warning", "error")
TOLD_TO_CLIENTS = ("python_multipart",)  # libraries that log what was wrong with a request, which its answer says


def configure_logging(level: str = "info", json: bool = False, *, stream: TextIO | None = None) -> None:
    """Set up structlog for the whole process.

    Args:
        level: one of ``LEVELS``, in any case; what lies below it is not even formatted.
        json: True writes one JSON object a line, False a readable line (coloured on a terminal).
        stream: where lines go; standard error when None, so that standard output stays free for results.

    Raises:
        ValueError: the level is not one of ``LEVELS``.
    """
    if level.lower() not in LEVELS:
        raise ValueError(f"log level {level!r} is not known; use one of {', '.join(LEVELS)}")
    out = stream if stream is not None else sys.stderr
    for name in TOLD_TO_CLIENTS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *_renderers(json, colors=out.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=lambda *_: _Lines(out),
        cache_logger_on_first_use=False,
    )


def _renderers(json: bool, *, colors: bool) -> list[structlog.typing.Processor]:
    if json:
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    plain = structlog.dev.plain_traceback  # with rich installed the default also shows local values: users' content
    return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]


class _Lines(structlog.PrintLogger):
    """Prints lines. One that cannot be written is dropped: a full disk must not stop whoever reports it."""

    def msg(self, message: str) -> None:
        with suppress(OSError, ValueError):  # ValueError: closed, or not to be encoded
            super().msg(message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg
