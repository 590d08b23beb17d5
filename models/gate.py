"""The gate: a new model replaces the old one only where it is not worse by more than a margin.

Both answer the same questions over the same candidates; the difference in NDCG@10 is resampled over users. Slices:
`fresh` events that arrived after the training data, `old` users kept out of continual cycles (forgetting shows there),
`cold` items that own no ID in either model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.evaluation.report import compare
from models.examples import Example, rank_examples
from models.ranker import Ranker

METRIC = "ndcg_at_10"


@dataclass(frozen=True)
class GateConfig:
    """When a model passes.

    Args:
        margin: Largest tolerated loss in NDCG@10, as a share of the old model's, on each slice.
        min_events: A slice with fewer ranked targets is reported and decides nothing.
        max_events: Questions asked per slice at most.
    """

    margin: float = 0.05
    min_events: int = 200
    max_events: int = 3_000

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if not 0.0 <= self.margin < 1.0:
            raise ValueError(f"margin={self.margin} must lie in [0, 1)")
        if not 1 <= self.min_events <= self.max_events:
            raise ValueError(f"1 <= min_events={self.min_events} <= max_events={self.max_events} must hold")


@dataclass(frozen=True)
class Verdict:
    """What the gate decided.

    Args:
        is_passed: Whether the new model may be promoted.
        reason: One line with the figures that decided.
        metrics: Figures by name, such as `fresh_ndcg_at_10` and `fresh_ndcg_at_10_parent`.
    """

    is_passed: bool
    reason: str
    metrics: dict[str, float]


def judge(new: Ranker, old: Ranker | None, slices: Mapping[str, Sequence[Example]], config: GateConfig) -> Verdict:
    """Compare two models slice by slice; the first model ever passes with its figures.

    A target that the user had seen before is dropped, counted, and no event to decide by.
    """
    metrics: dict[str, float] = {}
    found: list[str] = []
    failed: list[str] = []
    for name, questions in slices.items():
        tally = rank_examples(new, questions)
        metrics |= {f"{name}_events": float(tally.n), f"{name}_dropped": float(tally.n_dropped)}
        if not tally.n:
            continue
        metrics[f"{name}_{METRIC}"] = tally.means()[METRIC]
        if old is None:
            continue
        old_tally = rank_examples(old, questions)
        was, gain = old_tally.means()[METRIC], compare(tally, old_tally)[METRIC]
        metrics[f"{name}_{METRIC}_parent"] = was
        metrics[f"{name}_{METRIC}_gain"] = gain.mean
        line = f"{name} NDCG@10 {was:.4f} -> {was + gain.mean:.4f} (gain {gain.low:+.4f}..{gain.high:+.4f})"
        if tally.n < config.min_events:
            line += f", too few events ({tally.n} < {config.min_events}) to decide"
        elif gain.mean < -config.margin * was:
            failed.append(f"{name} lost {-gain.mean / was:.1%}, the margin is {config.margin:.1%}")
        found.append(line)
    if old is None:
        return Verdict(True, "first model, nothing to compare it with", metrics)
    return Verdict(not failed, "; ".join([*failed, *found]) or "no held-out events yet", metrics)
