"""The OpenAPI document: every refusal documented, in the media type it really has, and event kinds as a closed set."""

from typing import Any

from fastapi import FastAPI

from serving.errors import MEDIA_TYPE, TITLES
from serving.schemas import ProblemOut

Responses = dict[int | str, dict[str, Any]]
FIRST_ERROR = 400


def problems(*statuses: int) -> Responses:
    """The refusals a route documents."""
    return {status: {"model": ProblemOut, "description": TITLES[status]} for status in statuses}


class FreshetApp(FastAPI):
    """FastAPI whose document tells the truth about problem+json.

    `kinds` is set by `create_app`.
    """

    kinds: tuple[str, ...] = ()

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            for operations in document["paths"].values():
                for operation in operations.values():
                    _name_media_type(operation["responses"])
            document["components"]["schemas"]["EventIn"]["properties"]["kind"]["enum"] = list(self.kinds)
        assert self.openapi_schema is not None
        return self.openapi_schema


def _name_media_type(responses: dict[str, Any]) -> None:
    for status, response in responses.items():
        content = response.get("content", {})
        if status.isdigit() and int(status) >= FIRST_ERROR and "application/json" in content:
            content[MEDIA_TYPE] = content.pop("application/json")
