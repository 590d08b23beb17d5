"""/healthz, /readyz and /metrics of a worker, from a thread: they answer while the event loop is busy."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

READ_TIMEOUT_S = 10.0


class HealthServer:
    """Listens until it is closed.

    Args:
        address: host and port; port 0 takes a free one.
        registry: what /metrics shows.
        state: facts for /healthz and /readyz; `is_ready` decides the status of /readyz, `is_alive` of /healthz.

    Raises:
        OSError: the address cannot be listened on.
    """

    def __init__(
        self, address: tuple[str, int], registry: CollectorRegistry, state: Callable[[], Mapping[str, Any]]
    ) -> None:
        try:
            self._server = ThreadingHTTPServer(address, _handler(registry, state))
        except OSError as exc:
            raise OSError(
                f"cannot listen on {address[0]}:{address[1]} for health and metrics: {exc.strerror}; "
                "free it, or give another port (FRESHET_METRICS_PORT)"
            ) from exc
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The one it listens on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(registry: CollectorRegistry, state: Callable[[], Mapping[str, Any]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = READ_TIMEOUT_S

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(HTTPStatus.OK, generate_latest(registry), CONTENT_TYPE_LATEST)
            elif self.path in ("/healthz", "/readyz"):
                facts = state()
                is_fine = facts["is_alive"] if self.path == "/healthz" else facts["is_ready"]
                status = HTTPStatus.OK if is_fine else HTTPStatus.SERVICE_UNAVAILABLE
                self._answer(status, json.dumps(dict(facts)).encode(), "application/json")
            else:
                self._answer(HTTPStatus.NOT_FOUND, b"", "text/plain")

        def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Requests are not logged."""

    return Handler
