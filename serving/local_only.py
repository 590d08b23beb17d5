"""Keeps other people's web pages out while there are no keys: a browser on this machine reaches loopback too.

A page from elsewhere may make the browser send requests here (cross-site request forgery), or point a name of its own
at 127.0.0.1 (DNS rebinding). Both show in the headers, and both are answered 403.
"""

import ipaddress
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from serving.errors import Problem, answer


class LocalOnly:
    """Lets through what names this machine as its host, and no other place as its origin."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or pass on what is none."""
        refusal = _refusal(scope) if scope["type"] == "http" else None
        await (self._app if refusal is None else answer(refusal))(scope, receive, send)


def _refusal(scope: Scope) -> Problem | None:
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    host, origin = headers.get(b"host", ""), headers.get(b"origin")
    if not is_loopback(host):
        return Problem(403, f"host {host[:80]!r} is not this machine; use localhost or 127.0.0.1", field="Host")
    if origin is not None and _place(origin) != host.lower():
        return Problem(403, f"a page of {origin[:80]!r} may not send requests here", field="Origin")
    return None


def _place(origin: str) -> str | None:
    """Host and port of an origin; None where it is no address."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Whether a Host header names this machine.

    >>> is_loopback("localhost:8000"), is_loopback("127.0.0.1"), is_loopback("[::1]:80"), is_loopback("shop.example")
    (True, True, True, False)
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
