"""Whether the process is alive and ready, and its metrics."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from serving.openapi import problems
from serving.schemas import HealthOut
from serving.state import Running

router = APIRouter(tags=["health"])


@router.get("/healthz", response_model=HealthOut, responses=problems(400, 413))
async def alive() -> HealthOut:
    """The process answers. For restarts: says nothing about its roles."""
    return HealthOut(status="ok")


@router.get(
    "/readyz",
    response_model=HealthOut,
    responses={503: {"model": HealthOut, "description": "Not ready"}, **problems(400, 413)},
)
async def ready(serving: Running) -> Response:
    """Whether traffic may come. For load balancers; 503 names what is not ready and why."""
    reasons = dict(await serving.pool.run(serving.parts.not_ready))
    out = HealthOut(status="not_ready" if reasons else "ok", reasons=reasons)
    return JSONResponse(out.model_dump(), status_code=503 if reasons else 200)


@router.get("/metrics", response_class=PlainTextResponse, responses=problems(400, 413, 503))
async def metrics(serving: Running) -> Response:
    """All metrics, for Prometheus."""
    text = await serving.pool.run(generate_latest, serving.parts.metrics.registry)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
