import logging

from stream.workers.complaints import EVERY_S, Seldom


def line(name: str, lineno: int = 7, at_s: float = 0.0) -> logging.LogRecord:
    return logging.makeLogRecord({"name": name, "pathname": "conn.py", "lineno": lineno, "created": at_s})


def test_aiokafka_says_the_same_once_in_a_while() -> None:
    seldom = Seldom()
    said = [seldom.filter(line("aiokafka.conn", at_s=at_s)) for at_s in (0.0, 0.1, EVERY_S - 0.1, EVERY_S)]
    assert said == [True, False, False, True]


def test_what_aiokafka_says_elsewhere_is_not_held_back() -> None:
    seldom = Seldom()
    assert [seldom.filter(line("aiokafka.conn", lineno)) for lineno in (7, 8)] == [True, True]


def test_what_others_say_is_never_held_back() -> None:
    seldom = Seldom()
    assert [seldom.filter(line("stream.workers.join")) for _ in range(3)] == [True, True, True]
