"""The weights of the blend, as a process knows them: learned here or followed, asked by every feed."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import NamedTuple

from models.memory.blend import BlendWeights
from stream.events import BlendState

KEY = b"blend"  # on `control`


class BlendNow(NamedTuple):
    """What a feed is blended with.

    Attributes:
        weights: of the parts, numbered.
        age: of the model that answers.
        trending: counts by item, of those with most; not changed any more.
    """

    weights: BlendWeights
    age: float
    trending: Mapping[str, int]


class SharedBlend:
    """The newest weights. Any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._state: tuple[BlendState, BlendWeights, Mapping[str, int]] | None = None

    @property
    def number(self) -> int:
        """Of the newest weights; 0 without any."""
        state = self._state
        return 0 if state is None else state[0].number

    def put(self, state: BlendState) -> None:
        """Take over what was learned; what is not newer than what is here is passed over."""
        try:
            weights = BlendWeights(state.number, state.steady, state.ageing)
        except ValueError:  # of a version with other parts
            return
        with self._lock:
            if self._state is None or state.number > self._state[0].number:
                self._state = state, weights, dict((*state.trending, *state.more_trending))

    def now(self, model_version: str) -> BlendNow | None:
        """What to blend this model's scores with; None while nothing was learned or it does not pay.

        A model they were not learned beside counts as fresh: it is newer.
        """
        known = self._state
        if known is None or not known[0].is_on:
            return None
        state, weights, trending = known
        age = state.age if state.model_version == model_version else 0.0
        return BlendNow(weights, age, trending)
