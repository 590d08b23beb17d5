"""Users: who is there, and what one did."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from consumers.sequences.store import HistoryEntry
from serving.cards import card
from serving.errors import Problem
from serving.openapi import problems
from serving.schemas import HistoryItem, HistoryOut, PathId, UsersOut
from serving.state import Running, Serving

router = APIRouter(tags=["users"])
MAX_USERS = 500
MAX_HISTORY = 500
FORWARD_TIMEOUT_S = 2.0


@router.get("/v1/users", response_model=UsersOut, responses=problems(422, 503))
async def users(serving: Running, limit: Annotated[int, Query(ge=1, le=MAX_USERS)] = 50) -> UsersOut:
    """Users to look at: those that came last, the newest event first."""
    sequences = serving.parts.sequences
    return UsersOut(n_users=sequences.n_users, users=await serving.pool.run(sequences.recent_users, limit))


@router.get("/v1/users/{user_id}/history", response_model=HistoryOut, responses=problems(422, 503))
async def history(
    user_id: PathId, request: Request, serving: Running, limit: Annotated[int, Query(ge=1, le=MAX_HISTORY)] = 50
) -> HistoryOut | Response:
    """A user's sequence, newest first; empty for a user without one."""
    partition = serving.parts.sequences.partition_of(user_id)
    if partition not in serving.parts.sequences.held():
        answer = await serving.forwarder.forward(request, partition, timeout_s=FORWARD_TIMEOUT_S)
        if answer is not None:
            return answer
        raise Problem(503, "another replica has this user's history, and does not answer; ask again in a moment")
    entries = await serving.pool.run(serving.parts.sequences.history, user_id)
    newest_first = list(entries)[::-1][:limit]
    return HistoryOut(user_id=user_id, items=[_item(entry, serving) for entry in newest_first])


def _item(entry: HistoryEntry, serving: Serving) -> HistoryItem:
    shown = card(serving.parts.catalog, entry.item_id, None)
    return HistoryItem(
        item_id=shown.item_id,
        title=shown.title,
        image_url=shown.image_url,
        kind=serving.parts.kinds[entry.kind].name,
        ts_ms=entry.ts_ms,
    )
