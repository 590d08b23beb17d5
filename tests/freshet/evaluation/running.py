"""`freshet evaluate` in a test: real models, each noted."""

import json

from freshet.evaluation.command import EvaluateOptions, evaluate
from models.memory.blend import BlendWeights
from models.rivals.build import build
from models.rivals.recommender import Catalogue, Recommender
from stream.kinds import DEFAULT_KINDS


class Builder:
    """Makes real models, notes each, and is interrupted before the n-th."""

    def __init__(self, *, interrupted_at: int | None = None) -> None:
        self.made: list[tuple[str, int, bool]] = []
        self.weights: list[BlendWeights | None] = []
        self._interrupted_at = interrupted_at

    def __call__(
        self,
        name: str,
        catalogue: Catalogue,
        *,
        seed: int,
        n_epochs: int | None = None,
        weights: BlendWeights | None = None,
    ) -> Recommender:
        if len(self.made) == self._interrupted_at:
            raise KeyboardInterrupt
        self.made.append((name, seed, n_epochs is not None))
        self.weights.append(weights)
        return build(name, catalogue, seed=seed, n_epochs=n_epochs, weights=weights)


def run(options: EvaluateOptions, builder: Builder | None = None) -> dict[str, dict[str, object]]:
    evaluate(options, kinds=DEFAULT_KINDS, build_model=builder or Builder())
    assert options.json
    figures: dict[str, dict[str, object]] = json.loads(options.json.read_text())
    return figures
