"""To the replica that holds the user: a request for a partition that is not held here is answered by who holds it.

One hop at most: what was forwarded once is answered here, if only with popular items, so two replicas that both
believe the other has a partition never send a request round.
"""

from typing import Final

import httpx
from fastapi import Request
from fastapi.responses import Response

from serving.parts import Directory

FORWARDED: Final = "X-Freshet-Forwarded"
KEY: Final = "X-API-Key"
MAX_CONNECTIONS = 64
MARGIN_S = 0.5  # beyond the feed's own deadline, for the way there and back


class Forwarder:
    """Asks other replicas. Lives on the event loop.

    Args:
        directory: Who holds what; None when there are no others.
    """

    def __init__(self, directory: Directory | None) -> None:
        self._directory = directory
        self._http: httpx.AsyncClient | None = None

    async def forward(self, request: Request, partition: int, *, timeout_s: float) -> Response | None:
        """The answer of the replica that holds the partition.

        Returns:
            None when nobody else is known to hold it, it was forwarded already, or the other did not answer.
        """
        url = None if self._directory is None else self._directory.url_of(partition)
        if url is None or FORWARDED in request.headers:
            return None
        headers = {FORWARDED: "1"} | ({KEY: request.headers[KEY]} if KEY in request.headers else {})
        path = request.scope["raw_path"].decode("ascii")  # as it came: an id may hold an encoded slash
        query = f"?{request.url.query}" if request.url.query else ""
        try:
            answer = await self._client().get(f"{url}{path}{query}", headers=headers, timeout=timeout_s + MARGIN_S)
        except httpx.HTTPError:
            return None
        content_type = answer.headers.get("content-type")
        return Response(answer.content, answer.status_code, media_type=content_type)

    async def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.aclose()

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            self._http = httpx.AsyncClient(limits=httpx.Limits(max_connections=MAX_CONNECTIONS), trust_env=False)
        return self._http
