"""GET /v1/arms: what each arm of an experiment showed, and what followed. Counted when a feed's window has closed."""

from fastapi import APIRouter

from serving.openapi import problems
from serving.schemas import ArmOut, ArmsOut
from serving.state import Running, Serving
from stream.windows.trending import HOUR_MS

router = APIRouter(tags=["experiments"])


@router.get("/v1/arms", response_model=ArmsOut, responses=problems(503))
async def arms(serving: Running) -> ArmsOut:
    """Feeds, items and outcomes by experiment, arm and hour of showing. Integers, each outcome counted once."""
    return await serving.pool.run(_arms, serving)


def _arms(serving: Serving) -> ArmsOut:
    return ArmsOut(
        arms=[
            ArmOut(
                experiment=count.experiment,
                arm=count.arm,
                hour_ms=count.hour * HOUR_MS,
                n_feeds=count.n_feeds,
                n_items=count.n_items,
                n_outcomes=count.n_outcomes,
                kinds=count.kinds,
            )
            for count in serving.parts.arms()
        ]
    )
