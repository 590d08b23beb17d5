"""What aiokafka logs: without brokers, the same few lines dozens of times a second."""

from __future__ import annotations

import logging

EVERY_S = 10.0  # between two lines of one place in aiokafka's code


class Seldom(logging.Filter):
    """Of a handler; lets lines of others pass, and of aiokafka's each now and then.

    >>> seldom = Seldom()
    >>> line = logging.makeLogRecord({"name": "aiokafka.conn", "pathname": "conn.py", "lineno": 7})
    >>> seldom.filter(line), seldom.filter(line)
    (True, False)
    """

    def __init__(self) -> None:
        super().__init__()
        self._passed_s: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is printed."""
        if not record.name.startswith("aiokafka"):
            return True
        place = (record.pathname, record.lineno)
        passed_s = self._passed_s.get(place)
        if passed_s is not None and record.created - passed_s < EVERY_S:
            return False
        self._passed_s[place] = record.created
        return True
