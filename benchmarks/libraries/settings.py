"""What is tuned, and what is tried: every trial is chosen by the validation events, never by the test."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class RecToolsSettings:
    """How RecTools' SASRec is trained; in our shape but for the feed-forward, as wide as the model.

    Args:
        lr: Learning rate of Adam, the same throughout.
        history: `newest`, a user's newest window, as the library does it; `pieces`, all of it.
        dropout: Share dropped.
        batch_size: Sequences a step.
        max_epochs: Epochs at most; training stops once validation gets no better.
    """

    lr: float = 1e-3
    history: Literal["newest", "pieces"] = "newest"
    dropout: float = 0.2
    batch_size: int = 128
    max_epochs: int = 100

    @property
    def name(self) -> str:
        """Of the trial.

        >>> RecToolsSettings(lr=2e-3).name
        'newest-lr0.002-dropout0.2-batch128'
        """
        return f"{self.history}-lr{self.lr:g}-dropout{self.dropout:g}-batch{self.batch_size}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


_PIECES = RecToolsSettings(history="pieces")
TRIALS = (
    RecToolsSettings(),  # the library's own
    _PIECES,
    replace(_PIECES, lr=2e-3),
    replace(_PIECES, lr=5e-4),
    replace(_PIECES, lr=4e-3),
    replace(_PIECES, dropout=0.1),
    replace(_PIECES, dropout=0.3),
    replace(_PIECES, batch_size=64),
    RecToolsSettings(lr=2e-3),
    RecToolsSettings(lr=4e-3),
)
"""In the order of what they are expected to tell, for those who stop early."""
