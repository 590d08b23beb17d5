"""The app factory: the parts in, an ASGI app out. Who serves it (uvicorn) and where is decided above."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI

from monitoring.metrics import Metrics
from serving import (
    arms,
    bulk,
    docs_page,
    errors,
    feeds,
    health,
    ingest,
    items,
    models,
    page,
    pictures,
    replicas,
    status,
    users,
)
from serving.keys import Keys
from serving.local_only import LocalOnly
from serving.middleware import BodyLimit, EncodedPaths, RequestMetrics
from serving.openapi import FreshetApp
from serving.parts import ServingParts
from serving.state import Serving

ROUTERS = (
    ingest.router,
    feeds.router,
    users.router,
    bulk.router,
    pictures.router,
    items.router,
    models.router,
    status.router,
    replicas.router,
    arms.router,
    health.router,
    page.router,
)


def create_app(parts: ServingParts) -> FastAPI:
    """The HTTP process, ready to be served.

    Threads start with the app's lifespan and end with it; exposures that wait are published then.
    """
    app = FreshetApp(
        title="Freshet",
        version=_version(),
        description="A streaming multimodal sequential recommender that never stops learning.",
        lifespan=_lifespan(parts),
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    app.kinds = parts.kinds.names
    app.has_keys = bool(parts.keys)
    app.state.health = health.Health(parts.metrics, parts.not_ready)
    errors.install(app)
    for router in ROUTERS:
        app.include_router(router)
    docs_page.install(app)
    app.mount("/static", page.static_files(), name="static")
    app.add_middleware(BodyLimit, max_bytes=parts.settings.max_body_bytes, timeout_s=parts.settings.body_timeout_s)
    if parts.keys:
        app.add_middleware(Keys, keys=parts.keys)
    app.add_middleware(RequestMetrics, metrics=parts.metrics)
    app.add_middleware(EncodedPaths)
    if not parts.keys:
        app.add_middleware(LocalOnly)  # added last, so first to see a request
    return app


def create_monitor(metrics: Metrics, not_ready: Callable[[], Mapping[str, str]]) -> FastAPI:
    """Health and metrics alone, for a process that makes no feeds."""
    app = FastAPI(title="Freshet", version=_version(), docs_url=None, redoc_url=None, openapi_url=None)
    app.state.health = health.Health(metrics, not_ready)
    errors.install(app)
    app.include_router(health.router)
    return app


def _lifespan(parts: ServingParts) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        serving = Serving(parts)
        app.state.serving = serving
        serving.start()
        try:
            yield
        finally:
            await serving.close()

    return lifespan


def _version() -> str:
    try:
        return version("freshet")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "0"
