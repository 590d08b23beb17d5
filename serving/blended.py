"""What feeds are blended from beside the model, as it is now: the weights, what is trending, and the fast memory."""

from consumers.memory.shared_blend import SharedBlend
from models.blending import FeedBlend, Memory


class LiveBlend:
    """The blend that is in force, asked once for each batch of feeds. Any thread.

    Args:
        weights: the newest of them, and what was trending with them.
        memory: item transitions.
    """

    def __init__(self, weights: SharedBlend, memory: Memory) -> None:
        self._weights, self._memory = weights, memory

    def beside(self, model_version: str) -> FeedBlend | None:
        """What to blend this model's scores with; None while nothing was learned, or while it does not pay."""
        now = self._weights.now(model_version)
        return None if now is None else FeedBlend(now.weights, now.age, self._memory, now.trending)
