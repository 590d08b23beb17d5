"""Prequential truth: the rank of the item that came, under the model as it stood before it came.

The pure core of the watcher: targets with their states go in, Recall@10, NDCG@10 and MRR come out, filtered and
unfiltered, over all events and over the last few thousand. Events that followed one of our feeds are kept apart
from organic ones, since what was shown makes what follows. Rivals are ranked on the same events among the same
live items.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumers.columns import Columns
from consumers.watching.blocks import Block, Target
from models.evaluation.ranks import NOT_A_CANDIDATE, Excluded
from models.evaluation.report import RankingReport, Tally, compare
from models.rivals.panel import RivalPanel, as_columns

ScoreSequences = Callable[[Sequence[Sequence[str]], Sequence[Sequence[int]]], tuple[NDArray[np.float32], Sequence[str]]]

SOURCES = ("organic", "exposed")
PROTOCOLS = ("filtered", "unfiltered")
MODEL = "model"
K = 10


class WindowMeans:
    """Means over the last `size` rows of metric values."""

    def __init__(self, size: int, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._rows = np.zeros((size, len(self._names)))
        self._n_added = 0

    def add(self, values: NDArray[np.float64]) -> None:
        """Add rows (R, n_names); the oldest give way."""
        size = len(self._rows)
        newest = values[-size:]
        first = self._n_added + len(values) - len(newest)
        self._rows[np.arange(first, first + len(newest)) % size] = newest
        self._n_added += len(values)

    def means(self) -> dict[str, float]:
        """Mean by name; empty before the first row."""
        n = min(self._n_added, len(self._rows))
        if not n:
            return {}
        return dict(zip(self._names, self._rows[:n].mean(axis=0).tolist(), strict=True))


class Prequential:
    """Adds up how the targets ranked."""

    def __init__(self, *, window: int = 5_000, max_batch: int = 256, panel: RivalPanel | None = None) -> None:
        """Nothing ranked yet.

        Args:
            window: events of the windowed means, by source.
            max_batch: sequences scored in one call.
            panel: the rivals whose scores the blocks carry.

        Raises:
            ValueError: `window` or `max_batch` is below 1.
        """
        if window < 1 or max_batch < 1:
            raise ValueError(f"window={window} and max_batch={max_batch} must be at least 1")
        self.n_without_history = 0
        self.n_not_live = 0
        self.n_by_version: Counter[str] = Counter()
        self._max_batch = max_batch
        self._panel = panel
        names = (MODEL, *(panel.names if panel else ()))
        self._reports = {source: {name: RankingReport(K) for name in names} for source in SOURCES}
        metrics = Tally(K).metrics
        self._windows = {
            (source, protocol): WindowMeans(window, metrics) for source in SOURCES for protocol in PROTOCOLS
        }
        self._columns = Columns()

    def rank(self, targets: Sequence[Target], scorer: ScoreSequences, *, version: str) -> int:
        """Rank targets by a model.

        Args:
            targets: in any order; those whose user has no history are only counted.
            scorer: sequences and their times to (B, N) scores and the N item ids; -inf where an item is not live, or
                everywhere where the model knows none of the sequence (all live items then tie).
            version: of the model, for the count by version.

        Returns:
            How many were ranked, dropped ones included.

        Raises:
            ValueError: the model scored NaN.
        """
        by_block: dict[Block, list[Target]] = {}
        for target in targets:
            if target.block.sequence:
                by_block.setdefault(target.block, []).append(target)
        blocks = list(by_block)
        for start in range(0, len(blocks), self._max_batch):
            batch = blocks[start : start + self._max_batch]
            self._rank_batch(batch, [by_block[block] for block in batch], scorer)
        n_ranked = sum(len(group) for group in by_block.values())
        self.n_without_history += len(targets) - n_ranked
        self.n_by_version[version] += n_ranked
        return n_ranked

    def window_means(self, source: str, protocol: str) -> dict[str, float]:
        """Means over the last events of a source, by metric; empty before the first."""
        return self._windows[source, protocol].means()

    def report(self, *, seed: int = 0) -> dict[str, Any]:
        """Everything for a summary: by source, by model and rival, both protocols, intervals over users."""
        return {
            "n_without_history": self.n_without_history,
            "n_not_live": self.n_not_live,
            "n_by_version": dict(self.n_by_version),
            **{source: self._source_report(source, seed) for source in SOURCES},
        }

    def _source_report(self, source: str, seed: int) -> dict[str, Any]:
        reports = self._reports[source]
        model = reports[MODEL].filtered
        summary: dict[str, Any] = {}
        for name, report in reports.items():
            summary[name] = report.to_dict()
            if model.n:
                summary[name]["filtered"]["intervals"] = _plain(report.filtered.intervals(seed=seed))
            if model.n and name != MODEL:
                summary[name]["model_gains"] = _plain(compare(model, report.filtered, seed=seed))
        summary["window"] = {protocol: self.window_means(source, protocol) for protocol in PROTOCOLS}
        return summary

    def _rank_batch(self, blocks: Sequence[Block], groups: Sequence[Sequence[Target]], scorer: ScoreSequences) -> None:
        scores, item_ids = scorer([block.sequence for block in blocks], [block.times_ms for block in blocks])
        if not len(item_ids):
            self.n_not_live += sum(len(group) for group in groups)
            return
        self._columns.become(item_ids)
        knows_nothing = scores.max(axis=1, keepdims=True) == -np.inf
        scores = np.where(knows_nothing, np.float32(0), scores)
        seen = [self._columns.known(block.seen) for block in blocks]
        all_scores = {MODEL: scores, **self._rival_scores(blocks, item_ids, scores)}
        for source in SOURCES:
            rows, targets = _of_source(groups, is_exposed=source == "exposed")
            if targets:
                self._add(source, all_scores, rows, targets=targets, seen=seen)

    def _add(
        self,
        source: str,
        all_scores: dict[str, NDArray[np.float32]],
        rows: Sequence[int],
        *,
        targets: Sequence[Target],
        seen: Sequence[NDArray[np.int64]],
    ) -> None:
        """Rank targets by the model and by every rival; row i of the scores belongs to block `rows[i]`."""
        places = self._columns.places([target.item_id for target in targets])
        is_live = (places >= 0) & (all_scores[MODEL][rows, places] > -np.inf)
        places = np.where(is_live, places, NOT_A_CANDIDATE)
        self.n_not_live += int((~is_live).sum())
        users = [target.block.user_id for target in targets]
        excluded = Excluded.of([seen[row] for row in rows])
        for name, scores in all_scores.items():
            values = self._reports[source][name].add(users, scores[rows], places, seen=excluded)
            if name == MODEL:
                for protocol, rows_of_values in zip(PROTOCOLS, values, strict=True):
                    self._windows[source, protocol].add(rows_of_values)

    def _rival_scores(
        self, blocks: Sequence[Block], item_ids: Sequence[str], scores: NDArray[np.float32]
    ) -> dict[str, NDArray[np.float32]]:
        """(B, N) a rival, over the model's items; what is not live for the model is not live for them."""
        if self._panel is None:
            return {}
        numbers = self._panel.numbers(item_ids)
        is_dead = np.isneginf(scores)
        result = {}
        for place, name in enumerate(self._panel.names):
            rows = np.stack([as_columns(block.rival_scores[place], numbers) for block in blocks])
            rows[is_dead] = -np.inf
            result[name] = rows
        return result


def _of_source(groups: Sequence[Sequence[Target]], *, is_exposed: bool) -> tuple[list[int], list[Target]]:
    pairs = [(row, t) for row, group in enumerate(groups) for t in group if t.is_exposed == is_exposed]
    return [row for row, _ in pairs], [target for _, target in pairs]


def _plain(intervals: dict[str, Any]) -> dict[str, dict[str, float]]:
    return {name: interval._asdict() for name, interval in intervals.items()}
