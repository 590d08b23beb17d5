"""Model versions: what is published, what is current, and moving the pointer by hand."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Body

from models.memory.blend import PARTS
from models.registry.bundle import DamagedBundle, Manifest, UnknownVersion
from models.registry.kept_blend import KeptBlend
from models.registry.pointer import Pointer
from serving.errors import Problem
from serving.media_type import TAKES_JSON
from serving.openapi import problems
from serving.schemas import ModelOut, ModelsOut, PathId, PointerOut, ReasonIn
from serving.state import Running, Serving

router = APIRouter(tags=["models"])
Reason = Annotated[ReasonIn, Body(default_factory=ReasonIn)]
MOVE_REFUSALS = problems(404, 409, 415, 422, 503)


@router.get("/v1/models", response_model=ModelsOut, responses=problems(409, 503))
async def models(serving: Running) -> ModelsOut:
    """Published versions, newest first, and which one is current."""
    return await serving.pool.run(_models, serving)


def _models(serving: Serving) -> ModelsOut:
    registry = serving.parts.registry
    pointer = registry.current()
    ranker = serving.parts.slot.current()
    current = pointer.version if pointer else None
    serves = ranker.version if ranker else None
    listed: list[ModelOut] = []
    damaged: list[str] = []
    for version in reversed(registry.versions()):
        try:
            listed.append(_model(registry.manifest(version), current, serves))
        except DamagedBundle:
            damaged.append(version)
        except UnknownVersion:
            continue  # pruned since it was listed
    return ModelsOut(current=_pointer(pointer) if pointer else None, serving=serves, models=listed, damaged=damaged)


def _model(manifest: Manifest, current: str | None, serves: str | None) -> ModelOut:
    return ModelOut(
        version=manifest.version,
        parent=manifest.parent,
        created_ms=manifest.created_ms,
        metrics=manifest.metrics,
        blend=_kept(manifest.blend) if manifest.blend else None,
        reason=manifest.reason,
        is_current=manifest.version == current,
        is_serving=manifest.version == serves,
    )


def _kept(blend: KeptBlend) -> dict[str, float]:
    gain = {"gain_ndcg_at_10": blend.gain_ndcg_at_10, "standard_error": blend.standard_error}
    return dict(zip(PARTS, blend.steady, strict=False)) | gain


def _pointer(pointer: Pointer) -> PointerOut:
    values = asdict(pointer)
    return PointerOut(**{name: values[name] for name in PointerOut.model_fields})


@router.post(
    "/v1/models/{version}/promote", response_model=PointerOut, responses=MOVE_REFUSALS, dependencies=[TAKES_JSON]
)
async def promote(version: PathId, serving: Running, body: Reason) -> PointerOut:
    """Make a version current and let the gate promote again. Feeds follow within a second, without a gap."""
    registry = serving.parts.registry
    return await _moved(serving, partial(registry.promote, version, by="operator", reason=body.reason))


@router.post("/v1/models/rollback", response_model=PointerOut, responses=MOVE_REFUSALS, dependencies=[TAKES_JSON])
async def rollback(serving: Running, body: Reason) -> PointerOut:
    """Return to the previous version; the gate may not promote until somebody promotes by hand."""
    registry = serving.parts.registry
    return await _moved(serving, partial(registry.rollback, by="operator", reason=body.reason))


@router.post(
    "/v1/models/{version}/rollback", response_model=PointerOut, responses=MOVE_REFUSALS, dependencies=[TAKES_JSON]
)
async def rollback_from(version: PathId, serving: Running, body: Reason) -> PointerOut:
    """Return to the previous version, only if `version` is the current one: safe to send twice."""
    return await _moved(serving, partial(_rollback_from, serving, version, body.reason))


def _rollback_from(serving: Serving, version: str, reason: str) -> Pointer:
    registry = serving.parts.registry
    registry.path(version)  # an unknown version is 404
    return registry.rollback(by="operator", reason=reason, only_from=version)


async def _moved(serving: Serving, move: Callable[[], Pointer]) -> PointerOut:
    try:
        return _pointer(await serving.pool.run(move))
    except OSError as exc:
        raise Problem(503, f"the pointer cannot be moved: {exc}; free space, then try again") from exc
