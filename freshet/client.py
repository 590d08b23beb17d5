"""A small client of the HTTP API, for the demo and `freshet replay`; retries what is safe to retry, with an end."""

import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from stream.events import Interaction
from stream.replay.rows import ItemRow

TIMEOUT_S = 30.0
MAX_TRIES = 5
FIRST_RETRY_S = 0.2
KEY_VARIABLE = "FRESHET_API_KEY"  # the key of this client; FRESHET_API_KEYS are those a service knows

Answer = dict[str, Any]


class ApiError(Exception):
    """The service refused a request, or did not answer after several tries."""


class Client:
    """Talks to one service. For one thread.

    Args:
        url: Address of the root page.
        key: Of the API, for services that want one; default is what FRESHET_API_KEY holds.
    """

    def __init__(self, url: str, key: str | None = None) -> None:
        self._http = httpx.Client(base_url=url, timeout=TIMEOUT_S, headers=key_headers(key))

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(self, events: Sequence[Interaction]) -> str:
        """Send up to 1,000 events.

        Returns:
            Position token; give it to `feed` as `after`.
        """
        body = {"events": [_plain(event) for event in events]}
        return str(self._request("POST", "/v1/events", json=body)["position"])

    def put_item(self, row: ItemRow) -> Answer:
        """Send an item with its picture."""
        item = row.item
        fields = {"title": item.title, "text": item.text}
        path = f"/v1/items/{quote(item.item_id, safe='')}"
        picture = row.image.read_bytes() if isinstance(row.image, Path) else row.image
        if picture is None:
            body = {**fields, "ts_ms": item.ts_ms, "attributes": item.attributes}
            return self._request("PUT", path, json=body)
        form = {**fields, "ts_ms": str(item.ts_ms), "attributes": json.dumps(item.attributes)}
        return self._request("PUT", path, data=form, files={"image": ("image", picture)})

    def feed(self, user_id: str, *, k: int = 10, after: str | None = None) -> Answer:
        """A user's feed."""
        params = {"k": str(k)} | ({"after": after} if after else {})
        return self._request("GET", f"/v1/feeds/{quote(user_id, safe='')}", params=params)

    def similar(self, item_id: str, *, k: int = 10) -> Answer | None:
        """The items nearest to one; None while it is not servable."""
        try:
            return self._request("GET", f"/v1/items/{quote(item_id, safe='')}/similar", params={"k": str(k)})
        except NotFound:
            return None

    def get(self, path: str) -> Answer:
        """Any other answer."""
        return self._request("GET", path)

    def _request(self, method: str, path: str, **arguments: Any) -> Answer:  # noqa: ANN401 - httpx's own arguments
        retry_s = FIRST_RETRY_S
        problem = ""
        for tried in range(MAX_TRIES):
            if tried:
                threading.Event().wait(retry_s)
                retry_s *= 2
            try:
                response = self._http.request(method, path, **arguments)
            except httpx.TransportError as exc:
                problem = str(exc) or type(exc).__name__
            else:
                if response.is_success:
                    return self._answer(response)
                problem = _problem(response)
                if response.status_code == httpx.codes.UNAUTHORIZED:
                    problem += f"; set {KEY_VARIABLE} to a key of the service"
                if response.status_code == httpx.codes.NOT_FOUND:
                    raise NotFound(problem)
                if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    break
        raise ApiError(f"{method} {path} failed: {problem}")

    def _answer(self, response: httpx.Response) -> Answer:
        try:
            answer: Answer = response.json()
        except ValueError as exc:
            raise ApiError(f"{response.url} answered no JSON; is it a Freshet service? {response.text[:80]!r}") from exc
        return answer


class NotFound(ApiError):
    """The service does not know it."""


def key_headers(key: str | None = None) -> dict[str, str]:
    """What says who asks: the key given, else the one that FRESHET_API_KEY holds."""
    sent = key or os.environ.get(KEY_VARIABLE)
    return {"X-API-Key": sent} if sent else {}


def _problem(response: httpx.Response) -> str:
    """What was wrong: the detail that the service gives, or how the answer of something else begins."""
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code} {response.text[:300]}".strip()


def _plain(event: Interaction) -> Answer:
    return {name: getattr(event, name) for name in event.__struct_fields__}
