"""Weights of the online blend, kept with the model that they were learned beside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class KeptBlend:
    """What the gate's events made of the weights (`models.memory.calibration`).

    Attributes:
        steady: (P,) of each part (`models.memory.blend.PARTS`).
        ageing: (P,) added with the model's age.
        gain_ndcg_at_10: mean of the blend's less the model's own, each event predicted before it was learned.
        standard_error: of that gain.
        n_events: that it is the mean of.
    """

    steady: tuple[float, ...]
    ageing: tuple[float, ...]
    gain_ndcg_at_10: float
    standard_error: float
    n_events: int

    @classmethod
    def of(cls, values: dict[str, Any]) -> KeptBlend:
        """As it stands in a manifest.

        Raises:
            KeyError, TypeError, ValueError: a field is missing or of another type.
        """
        return cls(
            steady=tuple(map(float, values["steady"])),
            ageing=tuple(map(float, values["ageing"])),
            gain_ndcg_at_10=float(values["gain_ndcg_at_10"]),
            standard_error=float(values["standard_error"]),
            n_events=int(values["n_events"]),
        )
