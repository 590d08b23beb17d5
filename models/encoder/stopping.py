"""Stop by validation: the last phase of a training ends once a score gets no better, and its best epoch's weights stay.

`TrainingLoop` asks after every epoch of that phase; `checkpoint.py` keeps the best epoch beside the newest one.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Best:
    """The best epoch so far, the earliest of equals.

    Args:
        epoch: Epochs of the phase done then.
        score: Of the weights after it.
        weights: A copy, by name.
    """

    epoch: int
    score: float
    weights: dict[str, Tensor]


class Stopping:
    """Knows the best epoch, and when there have been enough after it.

    Args:
        score: Of the model as it stands, higher is better; draws no random numbers and changes no weights.
        patience: Epochs without a better score that end the phase.

    Raises:
        ValueError: `patience` is below 1.
    """

    def __init__(self, score: Callable[[], float], *, patience: int) -> None:
        if patience < 1:
            raise ValueError(f"patience={patience} must be at least 1; without a score all epochs are trained")
        self.score = score
        self.patience = patience
        self.best: Best | None = None

    def take(self, epoch: int, score: float, model: nn.Module) -> None:
        """Note the score after `epoch` epochs of the phase."""
        if self.best is None or score > self.best.score:
            weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            self.best = Best(epoch, score, weights)

    def is_over(self, epoch: int) -> bool:
        """Whether the phase ends after `epoch` epochs."""
        return self.best is not None and epoch - self.best.epoch >= self.patience

    def keep_best(self, model: nn.Module) -> None:
        """Give the model the best epoch's weights, where there is one."""
        if self.best is not None:
            model.load_state_dict(self.best.weights)
