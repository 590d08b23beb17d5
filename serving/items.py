"""The catalogue over HTTP: put, remove, look up one item, and what is like it."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from models.ranker import UnknownItem
from serving.cards import card
from serving.errors import Problem
from serving.item_body import ITEM_BODY, read_item
from serving.openapi import problems
from serving.pictures import image_url
from serving.schemas import MAX_K, ItemAccepted, ItemIn, ItemOut, PathId, SimilarOut
from serving.state import Running, Serving, wall_ms
from stream.events import ItemRemoval, ItemUpsert, encode
from stream.log import Message
from stream.topics import ITEMS

router = APIRouter(tags=["items"])


@router.put(
    "/v1/items/{item_id}",
    status_code=202,
    response_model=ItemAccepted,
    responses=problems(415, 422, 503),
    openapi_extra=ITEM_BODY,
)
async def put_item(item_id: PathId, request: Request, serving: Running) -> ItemAccepted:
    """Add an item or replace it whole, as JSON or as multipart/form-data with its picture as `image`.

    202 means durable; it is recommendable a moment later. A picture is stored before the item is.
    """
    item = await read_item(request, serving)
    await serving.publish(ITEMS, [upsert(item_id, item)])
    return ItemAccepted(item_id=item_id, image=item.image)


def upsert(item_id: str, item: ItemIn) -> Message:
    """The record of an item as a client sent it."""
    event = ItemUpsert(
        item_id=item_id,
        ts_ms=item.ts_ms if item.ts_ms is not None else wall_ms(),
        title=item.title,
        text=item.text,
        image=item.image,
        attributes=item.attributes,
    )
    return Message(item_id.encode(), encode(event))


@router.delete(
    "/v1/items/{item_id}",
    status_code=202,
    response_model=ItemAccepted,
    responses=problems(422, 503),
)
async def remove_item(item_id: PathId, serving: Running) -> ItemAccepted:
    """Recommend an item no more. Also 202 for one that is not known: it may be on its way."""
    removal = ItemRemoval(item_id=item_id, ts_ms=wall_ms())
    await serving.publish(ITEMS, [Message(item_id.encode(), encode(removal))])
    return ItemAccepted(item_id=item_id)


@router.get("/v1/items/{item_id}", response_model=ItemOut, responses=problems(404, 422))
async def get_item(item_id: PathId, serving: Running) -> ItemOut:
    """An item as the catalogue knows it."""
    item = serving.parts.catalog.get(item_id)
    if item is None:
        raise _unknown(item_id)
    return ItemOut(
        item_id=item_id,
        title=item.title,
        text=item.text,
        attributes=item.attributes,
        ts_ms=item.ts_ms,
        image=item.image,
        image_url=image_url(item.image),
    )


@router.get(
    "/v1/items/{item_id}/similar",
    response_model=SimilarOut,
    responses=problems(404, 422, 503),
)
async def similar(item_id: PathId, serving: Running, k: Annotated[int, Query(ge=1, le=MAX_K)] = 20) -> SimilarOut:
    """The items nearest to one, by text and picture."""
    return await serving.pool.run(_similar, serving, item_id, k)


def _similar(serving: Serving, item_id: str, k: int) -> SimilarOut:
    ranker = serving.parts.slot.current()
    if ranker is None:
        raise Problem(503, "there is no model yet; the first training cycle publishes one")
    try:
        nearest = ranker.similar(item_id, k)
    except UnknownItem:
        is_put = serving.parts.catalog.get(item_id) is not None
        raise (_not_encoded(item_id) if is_put else _unknown(item_id)) from None
    items = [card(serving.parts.catalog, item.item_id, item.score) for item in nearest]
    return SimilarOut(item_id=item_id, items=items, model_version=ranker.version)


def _unknown(item_id: str) -> Problem:
    return Problem(404, f"item {item_id[:80]!a} is not known; put it first", field="item_id")


def _not_encoded(item_id: str) -> Problem:
    return Problem(404, f"item {item_id[:80]!a} has no vector yet; ask again in a moment", field="item_id")
