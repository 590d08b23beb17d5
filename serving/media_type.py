"""What kind of body a request has, and the refusal of one that is not read."""

from fastapi import Depends, Request

from serving.errors import Problem


def media_type(request: Request) -> str:
    """The content type without its parameters; empty when none was sent."""
    return request.headers.get("content-type", "").split(";", 1)[0].strip().lower()


def not_read(sent: str, limit: str) -> Problem:
    """415, naming what was sent and what is read."""
    return Problem(415, f"content type {sent[:80]!a} is not read; send {limit}", limit=limit)


async def _takes_json(request: Request) -> None:
    sent = media_type(request)
    is_json = sent.startswith("application/") and sent.endswith(("/json", "+json"))  # as FastAPI has it
    if not is_json and await request.body():
        raise not_read(sent, "application/json")


TAKES_JSON = Depends(_takes_json)  # of a route; without it another body is told that it is no dictionary
