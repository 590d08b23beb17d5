"""What feeds are blended from beside the model, as it is now: the weights, the fast memory and the counts."""

from consumers.memory.shared_blend import SharedBlend
from consumers.recounts import Counts
from models.blending import FeedBlend, Memory


class LiveBlend:
    """The blend that is in force, asked once for each batch of feeds. Any thread.

    Args:
        weights: the newest of them.
        memory: item transitions.
        counts: of what is trending.
    """

    def __init__(self, weights: SharedBlend, memory: Memory, counts: Counts) -> None:
        self._weights, self._memory, self._counts = weights, memory, counts

    def beside(self, model_version: str) -> FeedBlend | None:
        """What to blend this model's scores with; None while nothing was learned, or while it does not pay."""
        now = self._weights.now(model_version)
        if now is None:
            return None
        return FeedBlend(now.weights, now.age, self._memory, self._counts.counts())
