import asyncio
import socket
import time

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


def test_an_address_that_does_not_answer_leaves_the_others_their_share_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    addresses = [("192.0.2.1", 9092), ("192.0.2.2", 9092), ("192.0.2.3", 9092)]
    found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    tried: list[tuple[object, float]] = []

    async def reach(dialling: socket.socket, address: object, timeout_at: float) -> None:
        tried.append((address, timeout_at))
        if len(tried) < len(addresses):
            raise KafkaTimeoutError("I/O wait timed out")

    network = Network()
    network._reach = reach
    started_s = time.monotonic()
    try:
        asyncio.run(network._dial("broker", 9092, started_s + 3_000)).close()
    finally:
        network.close()
    assert [address for address, _ in tried] == addresses
    assert [round((timeout_at - started_s) / 1_000, 1) for _, timeout_at in tried] == [1.0, 1.5, 3.0]
