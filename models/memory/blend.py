"""The online blend: one conditional logit over the catalogue (McFadden 1974) of what the parts say of an item.

    utility of item i  =  sum over parts p of  weight_p * score_p(i),   weight_p = steady_p + ageing_p * model age
    chance of item i   =  softmax of the utilities over the candidates

Parts: the encoder's log-softmax, the fast memory, what is trending, and whether the user has seen the item. Every event
is one observation, learned before it is applied: the item that came against all that could have. Nothing is fitted on
what was shown and not clicked, since that says as much of the ranker as of the user.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from river import optim

Floats = NDArray[np.float32]

Part = Literal["model", "memory", "trending", "seen"]
PARTS: tuple[Part, ...] = ("model", "memory", "trending", "seen")
MEMORY_GAIN = 20.0  # of the memory's score before its logarithm: one of 0.05 counts as twice nothing
OLDEST = 3.0  # of the model's age, so that an old model is no reason for weights never tried


@dataclass(frozen=True)
class BlendConfig:
    """How the weights are learned.

    Attributes:
        learning_rate: of Adam (Kingma & Ba 2015), constant: the weights are to follow a stream that changes.
        start: weight of each part before the first event.
        least: bound of each part's weight, from below.
        most: likewise from above.
        age_events: events since the model's data ended at which its age counts as log 2.
    """

    learning_rate: float = 0.003
    start: tuple[float, ...] = (1.0, 0.5, 0.0, -2.0)
    least: tuple[float, ...] = (0.0, 0.0, -0.5, -12.0)
    most: tuple[float, ...] = (2.0, 4.0, 1.0, 2.0)
    age_events: float = 50_000.0

    def __post_init__(self) -> None:
        for name in ("start", "least", "most"):
            values = getattr(self, name)
            if len(values) != len(PARTS):
                raise ValueError(f"{name}={values} has {len(values)} values; one a part is needed: {', '.join(PARTS)}")
        for part, low, value, high in zip(PARTS, self.least, self.start, self.most, strict=True):
            if not low <= value <= high:
                raise ValueError(f"start of {part} is {value}, outside its bounds {low} to {high}")
        if self.learning_rate <= 0 or self.age_events <= 0:
            raise ValueError(f"learning_rate={self.learning_rate} and age_events={self.age_events} must be above 0")


@dataclass(frozen=True)
class BlendWeights:
    """Weights as they are published and kept with a bundle.

    Attributes:
        number: counts up with every publication; named in the exposure.
        steady: (P,) of each part, whatever the model's age.
        ageing: (P,) added for each unit of the model's age.
    """

    number: int
    steady: tuple[float, ...]
    ageing: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.steady) == len(self.ageing) == len(PARTS):
            raise ValueError(
                f"{len(self.steady)} steady and {len(self.ageing)} ageing weights; one a part is needed: "
                f"{', '.join(PARTS)}"
            )
        if not np.isfinite([*self.steady, *self.ageing]).all():
            raise ValueError(f"blend weights must be numbers: steady={self.steady}, ageing={self.ageing}")

    def at(self, age: float) -> Floats:
        """(P,) weights at this age of the model."""
        return np.array(
            [steady + age * more for steady, more in zip(self.steady, self.ageing, strict=True)], np.float32
        )


class PartScores(NamedTuple):
    """What the parts say of the candidates, for one user.

    Attributes:
        values: (P, N) float32 in the order of `PARTS`; finite.
        is_candidate: (N,) whether the item can come at all.
    """

    values: Floats
    is_candidate: NDArray[np.bool_]

    @classmethod
    def of(cls, model: Floats, memory: Floats, trending: Floats, seen: Sequence[int] | NDArray[np.int64]) -> PartScores:
        """Put side by side what each part gives.

        Args:
            model: (N,) scores of the encoder, its temperature applied; -inf where an item is no candidate.
            memory: (N,) scores of the fast memory (`Transitions.scores`), at least 0.
            trending: (N,) counts.
            seen: columns of what the user has seen.

        Raises:
            ValueError: no item is a candidate.
        """
        top = model.max(initial=-np.inf)
        if top == -np.inf:
            raise ValueError(f"none of {len(model)} items is a candidate")
        is_candidate = model > -np.inf
        values = np.zeros((len(PARTS), len(model)), dtype=np.float32)
        np.subtract(model, top + np.log(np.exp(model - top).sum()), out=values[0], where=is_candidate)  # log-softmax
        np.log1p(np.float32(MEMORY_GAIN) * memory, out=values[1])
        np.log1p(trending, out=values[2])
        values[3, seen] = 1.0
        return cls(values, is_candidate)


class Blend:
    """Weights that learn.

    Args:
        config: how.
        weights: to go on from; the configured start when None.
    """

    def __init__(self, config: BlendConfig | None = None, weights: BlendWeights | None = None) -> None:
        self.config = config or BlendConfig()
        self.weights = weights or BlendWeights(0, self.config.start, (0.0,) * len(PARTS))
        self._optimizer = optim.Adam(self.config.learning_rate)

    def age(self, n_events: int) -> float:
        """A model's age by the events since its data ended: 0 for a fresh one, growing with their logarithm."""
        return min(float(np.log1p(max(n_events, 0) / self.config.age_events)), OLDEST)

    def learn(self, parts: PartScores, target: int, *, age: float = 0.0) -> float:
        """Learn that `target` came.

        Args:
            parts: as they stood before it.
            target: its column.
            age: of the model.

        Returns:
            Minus the logarithm of the chance that the blend gave it; what is no candidate is not learned and gives 0.
        """
        if not parts.is_candidate[target]:
            return 0.0
        chances = self._chances(parts, age)
        surplus = parts.values @ chances - parts.values[:, target]  # (P,) gradient of the loss by weight
        weights = _by_name(self.weights.steady, self.weights.ageing)
        slopes = _by_name(surplus.tolist(), (age * surplus).tolist())
        self._optimizer.step(weights, slopes)  # changes them in place
        self.weights = self._bounded(weights)
        return -float(np.log(max(float(chances[target]), 1e-30)))

    def _chances(self, parts: PartScores, age: float) -> Floats:
        scores = utilities(self.weights, parts, age=age)
        exponentials = np.exp(scores - scores.max())
        chances: Floats = exponentials / exponentials.sum()
        return chances

    def _bounded(self, moved: Mapping[Hashable, float]) -> BlendWeights:
        """Inside the bounds at every age there is: a part's weight is bounded fresh and at its oldest."""
        steady, ageing = [], []
        for part, low, high in zip(PARTS, self.config.least, self.config.most, strict=True):
            fresh = min(max(moved["steady", part], low), high)
            oldest = min(max(fresh + OLDEST * moved["ageing", part], low), high)
            steady.append(fresh)
            ageing.append((oldest - fresh) / OLDEST)
        return BlendWeights(self.weights.number, tuple(steady), tuple(ageing))


def _by_name(steady: Sequence[float], ageing: Sequence[float]) -> dict[Hashable, float]:
    """Values by name, as `river` takes them."""
    named: dict[Hashable, float] = {("steady", part): value for part, value in zip(PARTS, steady, strict=True)}
    return named | {("ageing", part): value for part, value in zip(PARTS, ageing, strict=True)}


def utilities(weights: BlendWeights, parts: PartScores, *, age: float = 0.0) -> Floats:
    """(N,) what the blend ranks by; -inf for what is no candidate."""
    scores: Floats = weights.at(age) @ parts.values
    np.copyto(scores, np.float32(-np.inf), where=~parts.is_candidate)
    return scores


def brought_by(
    weights: BlendWeights, parts: PartScores, scores: Floats, columns: Sequence[int], *, age: float = 0.0
) -> list[Part]:
    """Which part brought each of these items: the one that lifts it highest above an item drawn from the blend.

    Where none lifts it, the model did: to say nothing is no merit of a part.

    Args:
        weights: that were in force.
        parts: what each said.
        scores: (N,) utilities by these weights.
        columns: of the items.
        age: of the model.
    """
    chances = np.exp(scores - scores.max())
    usual = parts.values @ chances / chances.sum()  # (P,)
    above = parts.values[:, columns] - usual[:, None]  # (P, K)
    lifts = (weights.at(age)[:, None] * above).T.tolist()
    return [PARTS[lift.index(highest)] if (highest := max(lift)) > 0 else "model" for lift in lifts]
