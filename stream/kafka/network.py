"""kafka-python's network, with connections of our making.

The version is pinned; what is not its public API is used here and nowhere else. Its own connections, in 3.0.12, have
no deadline for a TLS handshake, and leave the socket of every failed attempt to the garbage collector; and before every
wait it looks up a socket that is not registered, to be told so in words, which take four system calls.
"""

from __future__ import annotations

import os
import selectors
import socket
import ssl
import time
from errno import EINPROGRESS
from typing import Any

from kafka.errors import KafkaConnectionError, KafkaTimeoutError, RequestTimedOutError, SaslAuthenticationFailedError
from kafka.net.compat import KafkaNetClient
from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport


class Selector(selectors.DefaultSelector):
    """Looks sockets up by their number, whose absence is said without asking the system for its addresses."""

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:  # noqa: ANN401 - a number, or what has one
        """See `selectors.BaseSelector.get_key`."""
        number = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        return super().get_key(fileobj if number < 0 else number)  # below 0: closed, perhaps still registered


class Network(KafkaNetClient):  # type: ignore[misc]
    """Connects, and notes why a connection was not made.

    Attributes:
        last_error: of the attempts the last that tells most: a refusal of who we are, then a connection that was not
            made or lost, then one that the deadline cut short.
    """

    def __init__(self, **configs: object) -> None:
        super().__init__(**configs | {"selector": Selector})
        self.last_error: BaseException | None = None
        self._manager._build_transport = self._open
        self._connection_of = self._manager.get_connection
        self._manager.get_connection = self._noting

    def stop_noting(self) -> None:
        """The brokers are found."""
        self._manager.get_connection = self._connection_of

    def _noting(self, *args: object, **kwargs: object) -> object:
        connection = self._connection_of(*args, **kwargs)
        connection.init_future.add_errback(self._note)
        return connection

    def _note(self, error: BaseException) -> None:
        if self.last_error is None or _told(error) >= _told(self.last_error):
            self.last_error = error

    async def _open(self, node: Any, timeout_at: float) -> KafkaTCPTransport:  # noqa: ANN401 - has no type
        """A transport to a broker, all of it by timeout_at."""
        plain = await self._dial(node.host, node.port, timeout_at)
        if not self._manager.ssl_enabled:
            return KafkaTCPTransport(self._net, plain, host=node.host)
        security = {name: value for name, value in self._manager.config.items() if name.startswith("ssl_")}
        try:
            transport = KafkaSSLTransport(self._net, plain, host=node.host, **security)
        except OSError as exc:  # a file of a certificate that is not there or not one
            plain.close()
            raise KafkaConnectionError(f"TLS cannot be set up: {exc}") from exc
        try:
            await self._shake_hands(transport._sock, timeout_at)
        except BaseException as exc:
            transport._sock.close()
            raise KafkaConnectionError(f"Handshake failed: {exc}") from exc
        return transport

    async def _dial(self, host: str, port: int, timeout_at: float) -> socket.socket:
        """A connected socket; a host of several addresses is tried at each, for its share of the time that is left."""
        error: BaseException | None = None
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for n_left, (family, kind, protocol, _, address) in zip(range(len(found), 0, -1), found, strict=True):
            now_s = time.monotonic()
            dialling = socket.socket(family, kind, protocol)
            try:
                await self._reach(dialling, address, now_s + (timeout_at - now_s) / n_left)
            except (OSError, KafkaTimeoutError) as exc:
                dialling.close()
                error = exc
            except BaseException:
                dialling.close()
                raise
            else:
                return dialling
        raise KafkaConnectionError(f"{host}:{port}: {error}") from error

    async def _reach(self, dialling: socket.socket, address: Any, timeout_at: float) -> None:  # noqa: ANN401 - of a family
        dialling.setblocking(False)
        for option in self._manager.config["socket_options"]:
            dialling.setsockopt(*option)
        failed = dialling.connect_ex(address)
        if failed == EINPROGRESS:
            await self._net.wait_write(dialling, timeout_at=timeout_at)
            failed = dialling.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failed:
            raise OSError(failed, os.strerror(failed))

    async def _shake_hands(self, secured: ssl.SSLSocket, timeout_at: float) -> None:
        while True:
            try:
                return secured.do_handshake()
            except ssl.SSLWantReadError:
                await self._net.wait_read(secured, timeout_at=timeout_at)
            except ssl.SSLWantWriteError:
                await self._net.wait_write(secured, timeout_at=timeout_at)


def _told(error: BaseException) -> int:
    """How much an error says of why."""
    if isinstance(error, SaslAuthenticationFailedError):
        return 2
    cut_short = (KafkaTimeoutError, RequestTimedOutError)
    return 0 if isinstance(error, cut_short) or isinstance(error.__cause__, cut_short) else 1
