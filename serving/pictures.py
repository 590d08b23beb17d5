"""Where a picture is found: the URL of a stored one, and the routes that serve it."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter
from fastapi import Path as PathParam
from fastapi.responses import FileResponse

from serving.errors import Problem
from serving.openapi import Responses, problems
from serving.schemas import PathId
from serving.state import Running, Serving
from stream.images import BadImage

router = APIRouter(tags=["items"])
CACHE_FOR_EVER = "public, max-age=31536000, immutable"  # a reference is a hash of the bytes
CACHE_BRIEFLY = "no-cache"  # an item's picture can change
MEDIA_TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp", ".gif": "image/gif"}
PICTURE: Responses = {
    200: {"content": {media_type: {} for media_type in MEDIA_TYPES.values()}, "description": "The picture"}
}
Ref = Annotated[str, PathParam(pattern=r"^[0-9a-f]{64}\.(jpg|png|webp|gif)$")]


def image_url(ref: str | None) -> str | None:
    """Where the page finds a picture.

    >>> image_url(None) is None
    True
    """
    return None if ref is None else f"/images/{ref}"


@router.get("/images/{ref}", response_class=FileResponse, responses={**PICTURE, **problems(404, 422, 503)})
async def picture(ref: Ref, serving: Running) -> FileResponse:
    """A stored picture by its reference; may be cached for ever."""
    return await _file(ref, serving, CACHE_FOR_EVER)


@router.get(
    "/v1/items/{item_id}/image",
    response_class=FileResponse,
    responses={**PICTURE, **problems(404, 422, 503)},
)
async def item_picture(item_id: PathId, serving: Running) -> FileResponse:
    """The picture of an item."""
    item = serving.parts.catalog.get(item_id)
    if item is None or item.image is None:
        raise Problem(404, f"item {item_id[:80]!a} has no picture", field="item_id")
    return await _file(item.image, serving, CACHE_BRIEFLY)


async def _file(ref: str, serving: Serving, cache: str) -> FileResponse:
    path = await serving.pool.run(_existing, serving, ref)
    if path is None:
        raise Problem(404, f"no picture {ref[:80]!r} is stored", field="ref")
    headers = {"Cache-Control": cache, "X-Content-Type-Options": "nosniff"}
    return FileResponse(path, media_type=MEDIA_TYPES[path.suffix], headers=headers)


def _existing(serving: Serving, ref: str) -> Path | None:
    try:
        path = serving.parts.images.path(ref)
    except BadImage:  # others may write to the log what is no reference
        return None
    return path if path.is_file() else None
