"""What the HTTP process is made of: built elsewhere, handed to `create_app`, used by name.

The protocols say what serving asks of the other rooms, and no more.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from consumers.catalog.catalog import Catalog
from consumers.sequences.user_sequences import UserSequences
from models.blending import FeedBlend
from models.ranker import FeedRequest, ScoredItem
from models.registry.registry import Registry
from monitoring.metrics import Metrics
from serving.blended import LiveBlend
from serving.settings import ServingSettings
from stream.events import ArmCount, Replica
from stream.images import ImageStore
from stream.kinds import DEFAULT_KINDS, EventKinds
from stream.log import Log


class Ranker(Protocol):
    """One model version that scores (models.ranker.Ranker); tests swap a fake in."""

    @property
    def version(self) -> str:
        """As published."""
        ...

    def recommend(
        self, requests: Sequence[FeedRequest], *, blend: FeedBlend | None = None
    ) -> Sequence[Sequence[ScoredItem]]:
        """The best items of each request, best first; by the model alone without a blend."""
        ...

    def similar(self, item_id: str, k: int) -> Sequence[ScoredItem]:
        """The items nearest to one.

        Raises:
            UnknownItem: the item has no vector in this ranker.
        """
        ...


class Slot(Protocol):
    """Where the ranker that answers now is kept (models.slot.ModelSlot)."""

    def current(self) -> Ranker | None:
        """The ranker; None before the first model."""
        ...


class Trending(Protocol):
    """What is popular among all users, wherever they are served (consumers.windows.counts_role.CountsRole)."""

    def trending(self, k: int) -> Sequence[str]:
        """The k items with most events in the last day of the stream; empty when nobody counts."""
        ...


class Directory(Protocol):
    """Who serves which users (consumers.replicas.ReplicaDirectory)."""

    def url_of(self, partition: int) -> str | None:
        """Where another replica serves this partition of `events`; None when nobody does."""
        ...

    def listed(self) -> Sequence[Replica]:
        """Replicas heard of lately."""
        ...


@dataclass(frozen=True)
class ServingParts:
    """Everything `create_app` needs.

    Attributes:
        not_ready: what is not ready, as name -> reason; empty when all is well. Called by `/readyz`.
        blend: what is blended with the model's scores; None where feeds are by the model alone.
        counts: what is popular among all users; None where this process has all of them.
        arms: what each arm of an experiment showed by hour, and what followed.
        replicas: who serves the users that this process does not; None where there are no others.
        keys: API key -> role (serving.keys); none: only this machine is let in.
    """

    log: Log
    images: ImageStore
    sequences: UserSequences
    catalog: Catalog
    slot: Slot
    registry: Registry
    metrics: Metrics
    not_ready: Callable[[], Mapping[str, str]]
    kinds: EventKinds = DEFAULT_KINDS
    blend: LiveBlend | None = None
    counts: Trending | None = None
    arms: Callable[[], Sequence[ArmCount]] = tuple
    replicas: Directory | None = None
    settings: ServingSettings = field(default_factory=ServingSettings)
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
