"""Whether the process is alive and ready, and its metrics."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from monitoring.metrics import Metrics
from serving.openapi import problems
from serving.schemas import HealthOut


@dataclass(frozen=True)
class Health:
    """What these routes answer from; `app.state.health`, there whatever else the process does."""

    metrics: Metrics
    not_ready: Callable[[], Mapping[str, str]]


async def health_of(request: Request) -> Health:
    """The running app's health."""
    health = request.app.state.health
    assert isinstance(health, Health)
    return health


OfApp = Annotated[Health, Depends(health_of)]
router = APIRouter(tags=["health"])


@router.get("/healthz", response_model=HealthOut, responses=problems())
async def alive() -> HealthOut:
    """The process answers. For restarts: says nothing about its roles."""
    return HealthOut(status="ok")


@router.get(
    "/readyz",
    response_model=HealthOut,
    responses={503: {"model": HealthOut, "description": "Not ready"}, **problems()},
)
async def ready(health: OfApp) -> Response:
    """Whether traffic may come. For load balancers; 503 names what is not ready and why."""
    reasons = dict(await asyncio.to_thread(health.not_ready))
    out = HealthOut(status="not_ready" if reasons else "ok", reasons=reasons)
    return JSONResponse(out.model_dump(), status_code=503 if reasons else 200)


@router.get("/metrics", response_class=PlainTextResponse, responses=problems(503))
async def metrics(health: OfApp) -> Response:
    """All metrics, for Prometheus."""
    text = await asyncio.to_thread(generate_latest, health.metrics.registry)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
