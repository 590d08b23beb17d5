"""How good the blended feeds are, beside what they are made of: the same events, each ranked before it was learned."""

from collections.abc import Mapping
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation.ranks import Excluded
from models.evaluation.report import RankingReport, compare
from models.memory.blend import Floats

FEED, MODEL, MEMORY = "feed", "model", "memory"
K = 10


class FeedQuality:
    """Recall, NDCG and MRR of feeds, of the model alone and of the memory alone, since the start. Any thread.

    A feed is what would have been served at that moment: blended while the blend pays, else by the model alone.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._reports = {name: RankingReport(K) for name in (FEED, MODEL, MEMORY)}

    def add(self, user_id: str, scores: Mapping[str, Floats], target: int, *, seen: NDArray[np.int64]) -> None:
        """Rank an event.

        Args:
            user_id: whose it is.
            scores: (N,) by name, -inf for what is no candidate.
            target: column of what came, a candidate.
            seen: columns of what the user has seen.
        """
        targets, excluded = np.array([target], np.int64), Excluded.of([seen])
        with self._lock:
            for name, report in self._reports.items():
                report.add([user_id], scores[name][None], targets, seen=excluded)

    def report(self) -> dict[str, Any]:
        """Figures by name, both protocols, and what feeds gain over each of the two, with intervals over users."""
        with self._lock:
            figures: dict[str, Any] = {name: report.to_dict() for name, report in self._reports.items()}
            feed = self._reports[FEED].filtered
            for name in (MODEL, MEMORY) if feed.n else ():
                gains = compare(feed, self._reports[name].filtered)
                figures[name]["feed_gains"] = {metric: gain._asdict() for metric, gain in gains.items()}
        return figures
