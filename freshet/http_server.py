"""The HTTP server in a thread of its own, with a port that is known before anyone is told."""

import socket
import threading
import time

import uvicorn
from fastapi import FastAPI

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
BACKLOG = 1_024


class PortTaken(Exception):
    """Somebody else listens there."""


class HttpServer:
    """Serves one app.

    Args:
        app: From `Service.app`.
        host: Loopback address.
        port: 0 takes a free one.

    Raises:
        PortTaken: the port cannot be bound; the message says what to do.
    """

    def __init__(self, app: FastAPI, *, host: str, port: int) -> None:
        self._socket = _bind(host, port)
        self._host = host
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                backlog=BACKLOG,
                timeout_graceful_shutdown=int(STOP_TIMEOUT_S),
            )
        )
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._error: BaseException | None = None

    @property
    def url(self) -> str:
        """Address of the root page."""
        port = self._socket.getsockname()[1]
        return f"http://[{self._host}]:{port}" if ":" in self._host else f"http://{self._host}:{port}"

    def start(self) -> None:
        """Return once requests are answered.

        Raises:
            RuntimeError: it did not start within the deadline, or failed.
        """
        self._thread.start()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._server.started:
            self._thread.join(0.01)
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError(f"the HTTP server did not start: {self._error or 'deadline passed'}")

    def stop(self) -> None:
        """Finish the requests at hand and stop."""
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(STOP_TIMEOUT_S)
        self._socket.close()  # uvicorn does so too, but only once it ran

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        except (Exception, SystemExit) as exc:
            self._error = exc


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, or asyncio leaves Nagle on
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(BACKLOG)  # so that a second process sees at once that it is taken
    except OSError as exc:
        bound.close()
        raise PortTaken(
            f"cannot listen on {host}:{port}: {exc.strerror}; free it, or choose another: --port N or FRESHET_PORT"
        ) from exc
    return bound
