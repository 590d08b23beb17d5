"""The OpenAPI document: every refusal documented, in the media type it really has, and event kinds as a closed set."""

from typing import Any

from fastapi import FastAPI

from serving.errors import MEDIA_TYPE, TITLES
from serving.keys import HEADER, role_for
from serving.schemas import ProblemOut

Responses = dict[int | str, dict[str, Any]]
FIRST_ERROR = 400
SCHEME = "key"
ANY_ROUTE = (400, 408, 413)  # `serving.middleware.BodyLimit`'s, and of paths and bodies that cannot be read


def problems(*statuses: int) -> Responses:
    """The refusals a route documents, beside those that any request can meet before its route."""
    return {one: {"model": ProblemOut, "description": TITLES[one]} for one in sorted({*ANY_ROUTE, *statuses})}


class FreshetApp(FastAPI):
    """FastAPI whose document tells the truth about problem+json.

    `kinds` and `has_keys` are set by `create_app`.
    """

    kinds: tuple[str, ...] = ()
    has_keys: bool = False

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            if self.has_keys:
                _name_keys(document)
            for operations in document["paths"].values():
                for operation in operations.values():
                    _name_media_type(operation["responses"])
            document["components"]["schemas"]["EventIn"]["properties"]["kind"]["enum"] = list(self.kinds)
        assert self.openapi_schema is not None
        return self.openapi_schema


def _name_keys(document: dict[str, Any]) -> None:
    """Say which operations need a key, and how they refuse."""
    document["components"]["securitySchemes"] = {SCHEME: {"type": "apiKey", "in": "header", "name": HEADER}}
    schema = {"$ref": "#/components/schemas/ProblemOut"}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            role = role_for(method.upper(), path)
            if role is None:
                continue
            operation["security"] = [{SCHEME: []}]
            for status in (401, 403):
                content = {"application/json": {"schema": schema}}
                operation["responses"][str(status)] = {"description": TITLES[status], "content": content}


def _name_media_type(responses: dict[str, Any]) -> None:
    for status, response in responses.items():
        content = response.get("content", {})
        if status.isdigit() and int(status) >= FIRST_ERROR and "application/json" in content:
            content[MEDIA_TYPE] = content.pop("application/json")
