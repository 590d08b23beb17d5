"""Follows the registry's pointer: loads the version it names beside the current one, warms it, swaps.

A version that cannot be loaded leaves the current one answering, and says so once.
"""

import threading
import time

import structlog

from consumers.catalog.placement import Placement
from models.content.table import ContentTable
from models.loading import load_ranker
from models.ranker import FeedRequest, Ranker
from models.registry.bundle import Bundle, RegistryError
from models.registry.registry import Registry
from models.slot import ModelSlot
from models.towers.pair import load_towers
from models.towers.tower import TowerError
from monitoring.metrics import Metrics

POLL_S = 0.25
RETRY_S = 2.0  # after a version that cannot be loaded: reading and checking it again takes a while
WARM_REQUESTS = 3
STOP_TIMEOUT_S = 30.0
EXPECTED = (RegistryError, TowerError, ValueError, OSError)


class ModelFollower:
    """A thread that keeps the slot at the registry's current version.

    Args:
        registry: Whose pointer is followed.
        placement: Gives a new model the catalogue's content and swaps it in.
        slot: What answers.
        metrics: Of this process.
    """

    def __init__(self, registry: Registry, placement: Placement, slot: ModelSlot, metrics: Metrics) -> None:
        self._registry = registry
        self._placement = placement
        self._slot = slot
        self._metrics = metrics
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="model-follower", daemon=True)
        self.problem: str | None = None  # why the version named by the pointer does not answer
        self.has_looked = False  # until then the first version is still being loaded

    def start(self) -> None:
        """Start following."""
        self._thread.start()

    def stop(self) -> None:
        """Stop following; the current model stays."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_TIMEOUT_S)

    def step(self) -> bool:
        """Swap if the pointer names another version than the one that answers.

        Returns:
            Whether a swap was made.

        Raises:
            RegistryError, TowerError, ValueError, OSError: the version cannot be loaded; nothing changed.
        """
        pointer = self._registry.current()
        current = self._slot.current()
        if pointer is None or (current is not None and current.version == pointer.version):
            return False
        started = time.monotonic()
        bundle = self._registry.open(pointer.version)
        towers = load_towers(bundle.towers, loaded=self._placement.towers)

        def load(content: ContentTable) -> Ranker:
            return _warmed(load_ranker(bundle, content))

        ranker = self._placement.swap_in(towers, load=load, swap=self._slot.swap)
        self._note(bundle, ranker, time.monotonic() - started)
        return True

    def _note(self, bundle: Bundle, ranker: Ranker, seconds: float) -> None:
        created_s = bundle.manifest.created_ms / 1_000
        self._metrics.model_swaps_total.inc()
        self._metrics.show_model(ranker.version)
        self._metrics.model_age_seconds.set_function(lambda: time.time() - created_s)
        structlog.get_logger().info(
            "model_swapped", version=ranker.version, n_items=ranker.n_items, seconds=round(seconds, 3)
        )

    def _run(self) -> None:
        while not self._stopping.wait(POLL_S if self.problem is None else RETRY_S):
            try:
                self.step()
                self.problem = None
            except Exception as exc:  # torch raises much; without this thread no model would ever follow
                problem = str(exc) if isinstance(exc, EXPECTED) else f"{type(exc).__name__}: {exc}"
                if self.problem != problem:
                    structlog.get_logger().error("model_not_loaded", reason=problem)
                self.problem = problem
            self.has_looked = True


def _warmed(ranker: Ranker) -> Ranker:
    """Answer a few requests, so that the first user does not pay for lazy set-up."""
    some_items = ranker.item_ids[:WARM_REQUESTS]
    for _ in range(WARM_REQUESTS):
        ranker.recommend([FeedRequest(items=some_items)])
    return ranker
