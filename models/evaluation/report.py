"""How good the rankings were: Recall@k, NDCG@k and MRR by two protocols, with intervals over users.

*Filtered* takes the items the user has seen out of the candidates; a target that is one of them is dropped
and counted, never let back in, since that would tell the answer. *Unfiltered* keeps all; it is reported
beside the other and decides nothing, since a penalty on seen items alone wins it.
The gate, the watcher and the benchmarks score through this one module.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from models.evaluation.bootstrap import Interval, UserSums, mean_interval
from models.evaluation.ranks import Excluded, FloatArray, IntArray, RankCounts, rank_counts, without


class Tally:
    """Ranked targets of one protocol: metrics summed by user, dropped targets counted."""

    def __init__(self, k: int = 10) -> None:
        self.k = k
        self.metrics = (f"recall_at_{k}", f"ndcg_at_{k}", "mrr")
        self.n_dropped = 0
        self.by_user = UserSums(len(self.metrics))

    def add(self, users: Sequence[Hashable], counts: RankCounts) -> NDArray[np.float64]:
        """Count targets in.

        Args:
            users: (B,) whose target each is.
            counts: (B,) where it stands.

        Returns:
            (R, 3) recall, NDCG and reciprocal rank of the R targets that were not dropped, in order.
        """
        kept = counts.ranked()
        values = np.stack([kept.recall_at(self.k), kept.ndcg_at(self.k), kept.reciprocal_ranks()], axis=1)
        is_ranked = counts.is_ranked.tolist()
        self.by_user.add([user for user, keep in zip(users, is_ranked, strict=True) if keep], values)
        self.n_dropped += len(is_ranked) - len(values)
        return values

    @property
    def n(self) -> int:
        """Targets counted in, dropped ones aside."""
        return self.by_user.n

    def means(self) -> dict[str, float]:
        """Mean over targets, by metric; NaN before the first."""
        sums = self.by_user.sums.sum(axis=0)
        return {
            name: float(total / self.n) if self.n else float("nan")
            for name, total in zip(self.metrics, sums, strict=True)
        }

    def intervals(self, *, seed: int = 0) -> dict[str, Interval]:
        """95 % interval by metric, users resampled."""
        counts = self.by_user.counts
        return {
            name: mean_interval(self.by_user.sums[:, column], counts, seed=seed)
            for column, name in enumerate(self.metrics)
        }

    def to_dict(self) -> dict[str, float | int]:
        """Figures for a summary: n, n_users, n_dropped and, from the first target on, the means."""
        means = self.means() if self.n else {}
        return {"n": self.n, "n_users": len(self.by_user.users), "n_dropped": self.n_dropped, **means}


class RankingReport:
    """Both protocols over the same events."""

    def __init__(self, k: int = 10) -> None:
        self.filtered = Tally(k)
        self.unfiltered = Tally(k)

    def add(
        self, users: Sequence[Hashable], scores: FloatArray, targets: IntArray, *, seen: Excluded
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rank a batch of events.

        Args:
            users: (B,) user of each event.
            scores: (B, N) of all live candidates.
            targets: (B,) the item that came, `NOT_A_CANDIDATE` where it is not live.
            seen: what each user had seen before, as candidate numbers.

        Returns:
            Metric values of the ranked events, filtered (R, 3) and unfiltered (B, 3).

        Raises:
            ValueError: as in `rank_counts` and `without`.
        """
        counts = rank_counts(scores, targets)
        filtered = without(counts, scores, targets, excluded=seen)
        return self.filtered.add(users, filtered), self.unfiltered.add(users, counts)

    def to_dict(self) -> dict[str, dict[str, float | int]]:
        """Figures of both protocols."""
        return {"filtered": self.filtered.to_dict(), "unfiltered": self.unfiltered.to_dict()}


def compare(new: Tally, old: Tally, *, seed: int = 0) -> dict[str, Interval]:
    """Mean difference new - old by metric, over the same events, users resampled; what the gate decides by.

    Raises:
        ValueError: the two did not rank the same number of events of the same users.
    """
    if new.metrics != old.metrics or new.by_user.counts_by_user() != old.by_user.counts_by_user():
        raise ValueError(
            f"only models ranked on the same events can be compared: {new.n} events of "
            f"{len(new.by_user.users)} users against {old.n} of {len(old.by_user.users)}"
        )
    order = old.by_user.rows(new.by_user.users)
    gains = new.by_user.sums - old.by_user.sums[order]
    return {
        name: mean_interval(gains[:, column], new.by_user.counts, seed=seed) for column, name in enumerate(new.metrics)
    }
