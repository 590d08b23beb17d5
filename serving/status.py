"""GET /v1/status: the few figures of the page's status bar, read back from the metrics."""

from fastapi import APIRouter

from serving.openapi import problems
from serving.rates import value_of
from serving.schemas import PrequentialOut, StatusOut
from serving.state import Running, Serving

router = APIRouter(tags=["health"])


@router.get("/v1/status", response_model=StatusOut, responses=problems(503))
async def status(serving: Running) -> StatusOut:
    """How the stream runs and how good the model is, at a glance."""
    return await serving.pool.run(_status, serving)


def _status(serving: Serving) -> StatusOut:
    parts = serving.parts
    ranker = parts.slot.current()
    return StatusOut(
        events_per_s=round(serving.event_rate.per_s(), 1),
        n_users=parts.sequences.n_users,
        n_items=parts.catalog.n_items,
        model_version=ranker.version if ranker else None,
        model_age_s=value_of(parts.metrics.model_age_seconds) if ranker else None,
        prequential=_prequential(serving),
    )


def _prequential(serving: Serving) -> PrequentialOut:
    metrics = serving.parts.metrics
    kept = {"source": "organic", "protocol": "filtered"}
    return PrequentialOut(
        recall_at_10=value_of(metrics.prequential_recall_at_10, **kept),
        ndcg_at_10=value_of(metrics.prequential_ndcg_at_10, **kept),
        mrr=value_of(metrics.prequential_mrr, **kept),
        n_events=int(value_of(metrics.prequential_events_total) or 0),
    )
