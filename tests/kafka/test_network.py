import socket

import pytest
from kafka.errors import KafkaConnectionError, KafkaTimeoutError, RequestTimedOutError, SaslAuthenticationFailedError

from stream.kafka.network import Network, Selector


class Wordless(socket.socket):
    """Must not be described: that asks the system for both of its addresses."""

    def __repr__(self) -> str:
        raise AssertionError("described")


def test_a_socket_that_is_not_registered_is_looked_up_without_describing_it() -> None:
    with Selector() as selector, Wordless() as unknown, pytest.raises(KeyError):
        selector.get_key(unknown)


def test_a_socket_that_was_closed_while_registered_is_still_found() -> None:
    with Selector() as selector, socket.socket() as known:
        key = selector.register(known, 1)
        known.close()

        assert selector.get_key(known) is key


LOST, REFUSED = KafkaConnectionError("socket disconnected"), SaslAuthenticationFailedError("who are you")
CUT_SHORT = KafkaConnectionError("Handshake failed: I/O wait timed out")
CUT_SHORT.__cause__ = KafkaTimeoutError("I/O wait timed out")


@pytest.mark.parametrize(
    ("errors", "kept"),
    [
        ([LOST, RequestTimedOutError()], LOST),
        ([LOST, CUT_SHORT], LOST),
        ([CUT_SHORT, LOST], LOST),
        ([REFUSED, LOST, CUT_SHORT], REFUSED),
        ([LOST, REFUSED], REFUSED),
        ([CUT_SHORT], CUT_SHORT),
    ],
)
def test_what_tells_most_of_a_failed_connection_is_kept(errors: list[BaseException], kept: BaseException) -> None:
    network = Network()
    try:
        for error in errors:
            network._note(error)
        assert network.last_error is kept
    finally:
        network.close()
