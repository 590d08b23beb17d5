import socket

import pytest

from stream.kafka.network import Selector


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
