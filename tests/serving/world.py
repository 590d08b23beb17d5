"""A whole small Freshet for the tests: real log, sequences, runner, pictures and registry; a ranker by hand.

Towers and training have no part in these tests.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import numpy as np
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from consumers.catalog.catalog import Catalog
from consumers.memory.shared import SharedMemory
from consumers.memory.shared_blend import SharedBlend
from consumers.runner import Runner, RunnerSettings
from consumers.sequences.role import SequencesRole, Snapshots
from consumers.sequences.user_sequences import UserSequences
from models.blending import FeedBlend
from models.memory.blend import Part
from models.ranker import FeedRequest, ScoredItem, UnknownItem
from models.registry.bundle import DataSpan, Manifest
from models.registry.kept_blend import KeptBlend
from models.registry.registry import Registry
from models.slot import ModelSlot
from monitoring.metrics import Metrics
from serving.app import create_app
from serving.blended import LiveBlend
from serving.parts import ServingParts
from serving.settings import ServingSettings
from stream.embedded.log import EmbeddedLog
from stream.events import decode_item
from stream.images import ImageStore
from stream.kinds import DEFAULT_KINDS
from stream.log import Message, Position, Record
from stream.topics import ITEMS, topics
from tests.waiting import wait_until

DEADLINE_S = 10.0


@dataclass
class HandRanker:
    """Recommends `item_ids` in order, with `score` for each: a number no other version gives.

    Blended, what the memory knows comes first.
    """

    version: str
    item_ids: Sequence[str]
    score: float = 1.0
    before: Callable[[Sequence[FeedRequest]], None] = field(default=lambda requests: None)

    def recommend(self, requests: Sequence[FeedRequest], *, blend: FeedBlend | None = None) -> list[list[ScoredItem]]:
        self.before(requests)
        return [self._answer(request, blend) for request in requests]

    def _answer(self, request: FeedRequest, blend: FeedBlend | None) -> list[ScoredItem]:
        if not any(item_id in self.item_ids for item_id in request.items):
            return []
        answer = [ScoredItem(item_id, self.score) for item_id in self.item_ids if item_id not in request.exclude]
        if blend is not None:
            numbers = blend.memory.numbers([one.item_id for one in answer])
            known = np.append(blend.memory.scores(request.items), 0.0)[numbers] > 0  # number -1 is the last
            parts: list[Part] = ["memory" if one else "model" for one in known]
            answer = [replace(one, brought_by=part) for one, part in zip(answer, parts, strict=True)]
            answer.sort(key=lambda one: one.brought_by != "memory")
        return answer[: request.k]

    def similar(self, item_id: str, k: int) -> list[ScoredItem]:
        if item_id not in self.item_ids:
            raise UnknownItem(item_id)
        return [ScoredItem(other, self.score) for other in self.item_ids if other != item_id][:k]


class Shelf:
    """The real catalogue, filled from the log when a test asks; its role with the towers is not needed here."""

    def __init__(self, log: EmbeddedLog) -> None:
        self.catalog = Catalog()
        self._reader = log.reader(ITEMS, partitions=list(log.ends(ITEMS)))

    def caught_up(self) -> Catalog:
        for record in self._reader.poll(max_records=10_000, timeout_s=0.0):
            self.catalog.apply(decode_item(record.value))
        return self.catalog


class AppClient(AbstractContextManager["AppClient"]):
    """Talks to an app inside this process, its lifespan running; usable from any thread."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app

    def __enter__(self) -> "AppClient":
        self._portal_manager = start_blocking_portal()
        self._portal: BlockingPortal = self._portal_manager.__enter__()
        self._lifespan = self._portal.wrap_async_context_manager(self.app.router.lifespan_context(self.app))
        self._lifespan.__enter__()
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        self._http = httpx.AsyncClient(transport=transport, base_url="http://localhost")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lifespan.__exit__(None, None, None)
        self._portal_manager.__exit__(None, None, None)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self._portal.call(partial(self._http.request, method, path, **options))

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)

    def put(self, path: str, **options: Any) -> httpx.Response:
        return self.request("PUT", path, **options)

    def delete(self, path: str, **options: Any) -> httpx.Response:
        return self.request("DELETE", path, **options)


class FrailLog:
    """The real log, which refuses to publish, or never confirms what it wrote, while a test says so."""

    def __init__(self, log: EmbeddedLog) -> None:
        self._log = log
        self.log_id = log.log_id
        self.failure: Exception | None = None
        self.is_silent = False

    def publish(self, topic: str, messages: Sequence[Message]) -> "Future[list[Position]]":
        if self.is_silent:
            self._log.publish(topic, messages)
            return Future()
        if self.failure is None:
            return self._log.publish(topic, messages)
        refused: Future[list[Position]] = Future()
        refused.set_exception(self.failure)
        return refused

    def ends(self, topic: str) -> dict[int, int]:
        return self._log.ends(topic)


@dataclass
class World:
    """Everything below HTTP, running."""

    root: Path
    log: EmbeddedLog
    sequences: UserSequences
    shelf: Shelf
    slot: ModelSlot
    registry: Registry
    images: ImageStore
    metrics: Metrics
    runner: Runner
    frail_log: FrailLog
    memory: SharedMemory = field(default_factory=SharedMemory)
    weights: SharedBlend = field(default_factory=SharedBlend)
    not_ready: dict[str, str] = field(default_factory=dict)

    def parts(self, **changes: Any) -> ServingParts:
        settings = ServingSettings(**changes)
        return ServingParts(
            log=self.frail_log,  # type: ignore[arg-type]
            images=self.images,
            sequences=self.sequences,
            catalog=self.shelf.catalog,
            slot=self.slot,  # type: ignore[arg-type]
            registry=self.registry,
            metrics=self.metrics,
            not_ready=lambda: self.not_ready,
            blend=LiveBlend(self.weights, self.memory),
            settings=settings,
        )

    def client(self, **changes: Any) -> AppClient:
        return AppClient(create_app(self.parts(**changes)))

    def serve_model(self, ranker: HandRanker) -> None:
        self.slot.swap(ranker)  # type: ignore[arg-type]

    def publish_model(self, weights: bytes = b"weights", *, blend: KeptBlend | None = None) -> str:
        stage = self.registry.stage()
        (stage / "model.safetensors").write_bytes(weights)
        draft = Manifest(
            created_ms=1_700_000_000_000,
            config={},
            tower_revisions={},
            data=DataSpan(),
            seed=0,
            code_version="test",
            metrics={"recall_at_10": 0.2},
            reason="first model",
            blend=blend,
        )
        return self.registry.publish(stage, draft)

    @contextmanager
    def refusing(self, failure: Exception) -> Iterator[None]:
        """The log refuses what HTTP publishes."""
        self.frail_log.failure = failure
        try:
            yield
        finally:
            self.frail_log.failure = None

    @contextmanager
    def silent(self) -> Iterator[None]:
        """The log never confirms what HTTP publishes."""
        self.frail_log.is_silent = True
        try:
            yield
        finally:
            self.frail_log.is_silent = False

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)

    def records(self, topic: str) -> list[Record]:
        reader = self.log.reader(topic, partitions=list(self.log.ends(topic)))
        try:
            return reader.poll(max_records=10_000, timeout_s=0.2)
        finally:
            reader.close()


@contextmanager
def running_world(root: Path, *, n_partitions: int = 2) -> Iterator[World]:
    log = EmbeddedLog(root / "log.sqlite", topics(n_partitions))
    metrics = Metrics(CollectorRegistry())
    sequences = UserSequences(n_partitions)
    snapshots = Snapshots(root / "snapshots", log.log_id)
    role = SequencesRole(sequences, snapshots, log, kinds=DEFAULT_KINDS, metrics=metrics)
    runner = Runner(log, [role], metrics=metrics, settings=RunnerSettings(poll_s=0.02))
    world = World(
        root,
        log,
        sequences,
        Shelf(log),
        ModelSlot(),
        Registry(root / "models"),
        ImageStore(root / "images"),
        metrics,
        runner,
        FrailLog(log),
    )
    runner.start()
    try:
        wait_until(lambda: len(sequences.held()) == n_partitions, "the sequences role holds its partitions")
        yield world
    finally:
        runner.stop(DEADLINE_S)
        log.close()
