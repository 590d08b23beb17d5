"""Whether the blend pays: its NDCG@10 against the model's own, on every event it learned from, before it learned it.

Means fade exponentially. It is switched off when it is worse beyond doubt, and on again as soon as it is better: a
blend that is switched off goes on being learned and judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation.ranks import rank_counts
from models.memory.blend import Floats

K = 10
_SURE = 2.0  # standard errors


@dataclass(frozen=True)
class JudgeConfig:
    """How quickly it judges.

    Attributes:
        half_life: events after which one counts half.
        least_events: before so many it says nothing.
    """

    half_life: float = 2_000.0
    least_events: int = 200

    def __post_init__(self) -> None:
        if self.half_life <= 0 or self.least_events < 1:
            raise ValueError(
                f"half_life={self.half_life} must be above 0 and least_events={self.least_events} at least 1"
            )


class Judge:
    """Fading mean and variance of the gain (West 1979, with weights).

    Args:
        config: how quickly it judges.
        is_on: until it has seen enough to say.

    Attributes:
        is_on: whether feeds are to be blended.
        n_judged: events.
        gain: faded mean of the blend's NDCG@10 less the model's.
    """

    def __init__(self, config: JudgeConfig | None = None, *, is_on: bool = False) -> None:
        self.config = config or JudgeConfig()
        self.is_on = is_on
        self.n_judged = 0
        self.gain = 0.0
        self._weight = self._squares = 0.0  # of the events: sum of weights, sum of their squares
        self._deviations = 0.0  # weighted sum of squared deviations from the mean

    @property
    def standard_error(self) -> float:
        """Of `gain`, taking events for independent; infinite before the second one."""
        n_effective = self._weight**2 / self._squares if self._squares else 0.0
        if n_effective <= 1:
            return float("inf")
        variance = self._deviations / self._weight * n_effective / (n_effective - 1)
        return float(np.sqrt(variance / n_effective))

    def add(self, gain: float) -> None:
        """Judge one more event by the blend's NDCG@10 less the model's."""
        fading = 2.0 ** (-1.0 / self.config.half_life)
        self._weight = self._weight * fading + 1.0
        self._squares = self._squares * fading**2 + 1.0
        surplus = gain - self.gain
        self.gain += surplus / self._weight
        self._deviations = self._deviations * fading + surplus * (gain - self.gain)
        self.n_judged += 1
        if self.n_judged >= self.config.least_events:
            self.is_on = self.gain + _SURE * self.standard_error >= 0 if self.is_on else self.gain > 0

    def state(self) -> dict[str, NDArray[Any]]:
        """All of it as arrays, for a snapshot."""
        sums = np.array([self.gain, self._weight, self._squares, self._deviations])
        return {"judge_sums": sums, "judge_counts": np.array([self.n_judged, self.is_on], np.int64)}

    @classmethod
    def restored(cls, state: Mapping[str, NDArray[Any]], config: JudgeConfig | None = None) -> Judge:
        """What `state` gave."""
        judge = cls(config)
        judge.gain, judge._weight, judge._squares, judge._deviations = state["judge_sums"].tolist()
        judge.n_judged, is_on = state["judge_counts"].tolist()
        judge.is_on = bool(is_on)
        return judge


def gain_of(blended: Floats, model: Floats, seen: NDArray[np.int64], target: int) -> float | None:
    """How much higher the blend's NDCG@10 is, among what the user has not seen; None for a target that was seen.

    Args:
        blended: (N,) utilities.
        model: (N,) the model's scores; both -inf for what is no candidate.
        seen: columns of what the user has seen.
        target: column of what came, a candidate.
    """
    if target in seen:
        return None
    scores = np.stack([blended, model])
    scores[:, seen] = -np.inf
    of_blend, of_model = rank_counts(scores, np.array([target, target])).ndcg_at(K).tolist()
    return float(of_blend - of_model)
