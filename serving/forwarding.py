"""To the replica that holds the user: a request for a partition that is not held here is answered by who holds it.

One hop at most: what was forwarded once is answered here, if only with popular items, so two replicas that both
believe the other has a partition never send a request round.
"""

import time
from typing import Final

import httpx
from fastapi import Request
from fastapi.responses import Response

from serving.parts import Directory

FORWARDED: Final = "X-Freshet-Forwarded"
KEY: Final = "X-API-Key"
MAX_CONNECTIONS = 64
MARGIN_S = 0.5  # beyond the feed's own deadline, for the way there and back
CONNECT_S = 0.25
SHUN_S = 1.0  # after a replica did not answer: requests waiting for it would take the connections to the others


class Forwarder:
    """Asks other replicas. Lives on the event loop.

    Args:
        directory: Who holds what; None when there are no others.
    """

    def __init__(self, directory: Directory | None) -> None:
        self._directory = directory
        self._http: httpx.AsyncClient | None = None
        self._shunned_until: dict[str, float] = {}  # by url

    async def forward(self, request: Request, partition: int, *, timeout_s: float) -> Response | None:
        """The answer of the replica that holds the partition.

        Returns:
            None when nobody else is known to hold it, it was forwarded already, or the other did not answer, or
            not well (5xx).
        """
        url = None if self._directory is None else self._directory.url_of(partition)
        if url is None or FORWARDED in request.headers or self._is_shunned(url):
            return None
        headers = {FORWARDED: "1"} | ({KEY: request.headers[KEY]} if KEY in request.headers else {})
        path = request.scope["raw_path"].decode("ascii")  # as it came: an id may hold an encoded slash
        query = f"?{request.url.query}" if request.url.query else ""
        timeout = httpx.Timeout(timeout_s + MARGIN_S, connect=CONNECT_S)
        try:
            answer = await self._client().get(f"{url}{path}{query}", headers=headers, timeout=timeout)
        except (httpx.HTTPError, httpx.InvalidURL):
            self._shunned_until[url] = time.monotonic() + SHUN_S
            return None
        if answer.is_server_error:
            return None
        content_type = answer.headers.get("content-type")
        return Response(answer.content, answer.status_code, media_type=content_type)

    async def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.aclose()

    def _is_shunned(self, url: str) -> bool:
        return time.monotonic() < self._shunned_until.get(url, 0.0)

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            self._http = httpx.AsyncClient(limits=httpx.Limits(max_connections=MAX_CONNECTIONS), trust_env=False)
        return self._http
