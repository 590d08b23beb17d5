"""What of Faust had to be replaced, where no broker is needed to see it; tests/kafka has the rest."""

from faust.types import TP

from stream.workers.faust_app import Readable

ONE, TWO = TP("events", 1), TP("events", 2)


def test_readable_without_partitions_is_still_true() -> None:
    readable = Readable(set())

    assert bool(readable)  # to aiokafka what is false means all partitions
    assert ONE not in readable


def test_readable_follows_what_is_paused_and_resumed_while_a_request_waits() -> None:
    active = {ONE}
    readable = Readable(active)

    active.remove(ONE)
    active.add(TWO)

    assert (ONE in readable, TWO in readable) == (False, True)
