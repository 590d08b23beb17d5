"""Who may do what: the key in `X-API-Key` carries a role, and the role says which requests it may send.

    ingest   events, and items put, removed and sent in bulk
    read     everything that is only looked at, and feeds asked for with POST
    admin    all of it, moving the current model too

No key is needed for health and metrics, which machines ask for, nor for what is public: the page's files and the
API's documents. A foreign web page can set no such header, so with keys `LocalOnly` has nothing left to do.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import get_args

from starlette.types import ASGIApp, Receive, Scope, Send

from serving.errors import Problem, answer
from serving.settings import MIN_KEY_LENGTH, KeyRole

HEADER = "X-API-Key"
CHALLENGE = {"WWW-Authenticate": f'ApiKey header="{HEADER}"'}
OPEN_PATHS = frozenset({"/", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"})
OPEN_FOLDERS = ("/static/", "/docs-assets/")
LOOKING = ("GET", "HEAD")


class Keys:
    """Lets through what the request's key may do; 401 without a known key, 403 for a role that may not.

    Sees paths as the router does, so it stands behind `EncodedPaths`.

    Args:
        app: What is asked then.
        keys: Key -> role; at least one. Only their digests are kept.

    Raises:
        ValueError: no key, a short one, or an unknown role. Keys are never named.
    """

    def __init__(self, app: ASGIApp, keys: Mapping[str, str]) -> None:
        _check(keys)
        self._app = app
        self._roles = [(_digest(key.encode()), role) for key, role in keys.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or pass on what is none."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
            return
        await answer(refusal, CHALLENGE if refusal.status == 401 else None)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Problem | None:
        needed = role_for(scope["method"], scope["path"])
        if needed is None:
            return None
        key = dict(scope["headers"]).get(HEADER.lower().encode())
        if key is None:
            return Problem(401, f"no key; send one in the {HEADER} header", field=HEADER)
        role = self._role_of(key)
        if role is None:
            return Problem(401, "the key is not known; ask the operator for one", field=HEADER)
        if role in (needed, "admin"):
            return None
        asked = f"{scope['method'][:20]} {scope['path'][:200]!a}"
        return Problem(403, f"{asked} needs a key with role {needed!r}, this one's is {role!r}", field=HEADER)

    def _role_of(self, key: bytes) -> str | None:
        """The key's role; every known key is compared, so that the time tells nothing."""
        sent = _digest(key)
        found = None
        for known, role in self._roles:
            if hmac.compare_digest(sent, known):
                found = role
        return found


def role_for(method: str, path: str) -> KeyRole | None:
    """The least role that may send a request; None when everybody may.

    Args:
        method: Of the request.
        path: As routes are matched on it, ids still encoded.

    >>> role_for("GET", "/v1/feeds/ada"), role_for("POST", "/v1/events"), role_for("POST", "/v1/models/rollback")
    ('read', 'ingest', 'admin')
    >>> role_for("GET", "/healthz") is None
    True
    """
    if method in LOOKING:
        return None if path in OPEN_PATHS or path.startswith(OPEN_FOLDERS) else "read"
    if (method, path) == ("POST", "/v1/feeds"):
        return "read"
    if (method, path) in (("POST", "/v1/events"), ("POST", "/v1/items")):
        return "ingest"
    if method in ("PUT", "DELETE") and path.startswith("/v1/items/"):
        return "ingest"
    return "admin"  # what is not named above, new routes too


def _check(keys: Mapping[str, str]) -> None:
    if not keys:
        raise ValueError("no keys; without any, listen on loopback only and let LocalOnly guard")
    for place, (key, role) in enumerate(keys.items(), 1):
        if len(key) < MIN_KEY_LENGTH:
            raise ValueError(f"key {place} has {len(key)} characters, needs {MIN_KEY_LENGTH}; make a longer one")
        if role not in get_args(KeyRole):
            raise ValueError(f"key {place} has role {role!r}, which is none of {', '.join(get_args(KeyRole))}")


def _digest(key: bytes) -> bytes:
    """Of one length for all, so that comparing takes the same time for all."""
    return hashlib.sha256(key).digest()
