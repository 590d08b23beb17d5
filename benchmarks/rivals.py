"""How good the plain rivals are on a data set's last fifth, streamed: the bar for every model.

Command:   python -m benchmarks.rivals --data PATH [--tune]
Data:      a GroupLens folder (`ratings.dat`, `movies.dat`); the first 80 % of the events by time warm the rivals up,
           the last 20 % are streamed, each same-second block predicted from the state before it. With --tune the
           first 72 % warm up and the next 8 % are streamed; nothing is ever chosen on the last 20 %.
Hardware:  2 CPU cores, one used; under 2 minutes, tuning about 2 minutes.
Expected:  MovieLens-1M, ratings of 4 and 5: Recall@10 / NDCG@10, filtered, popularity about .054 / .027,
           co-occurrence about .160 / .081.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumers.watching.blocks import Arrival, BlockReader
from consumers.watching.prequential import Prequential
from models.rivals.cooccurrence import CooccurrenceConfig, LiveCooccurrence
from models.rivals.panel import Rival, RivalPanel, default_rivals
from stream.events import Interaction
from stream.kinds import DEFAULT_KINDS
from stream.replay.dataset import open_dataset

BATCH = 2_000  # events, as the runner polls them
TRIALS = ((1.0, 1.0), (0.9, 0.9), (0.8, 0.8), (0.7, 0.7), (0.9, 0.7), (0.7, 0.9), (0.8, 1.0), (1.0, 0.8))


def trials() -> dict[str, Rival]:
    """Co-occurrence with every pair of decays tried, named by them."""
    return {
        f"pair={pair} history={history}": LiveCooccurrence(CooccurrenceConfig(pair_decay=pair, history_decay=history))
        for pair, history in TRIALS
    }


class NoModel:
    """Scores every item of the catalogue the same: the expected figures of a random order, and the live items."""

    def __init__(self, item_ids: Sequence[str]) -> None:
        self._item_ids = list(item_ids)

    def scores(
        self, sequences: Sequence[Sequence[str]], times_ms: Sequence[Sequence[int]]
    ) -> tuple[NDArray[np.float32], list[str]]:
        """(B, N) zeros and the N item ids."""
        return np.zeros((len(sequences), len(self._item_ids)), dtype=np.float32), self._item_ids


def stream(
    events: Sequence[Interaction], item_ids: Sequence[str], *, rivals: dict[str, Rival], split: tuple[float, float]
) -> dict[str, Any]:
    """Warm up on the events before the split, predict those inside it.

    Args:
        events: in the order of time.
        item_ids: the catalogue.
        rivals: by name, fresh.
        split: where the streamed part begins and ends, as shares of the events.

    Returns:
        The report of organic events, and seconds by part.
    """
    first, last = (int(len(events) * share) for share in split)
    panel = RivalPanel(rivals)
    reader, prequential = BlockReader(DEFAULT_KINDS, panel=panel), Prequential(panel=panel)
    reader.hold(0)
    started = time.perf_counter()
    reader.absorb([Arrival(0, event) for event in events[:first]])
    warm = time.perf_counter()
    for start in range(first, last, BATCH):
        targets = reader.targets([Arrival(0, event) for event in events[start : min(start + BATCH, last)]])
        prequential.rank(targets, NoModel(item_ids).scores, version="none")
    ended = time.perf_counter()
    report = prequential.report()
    per_event_us = (ended - warm) / (last - first) * 1e6
    return {
        "n_events": last - first,
        "n_without_history": report["n_without_history"],
        "n_not_live": report["n_not_live"],
        "warm_up_s": round(warm - started, 1),
        "stream_s": round(ended - warm, 1),
        "per_event_us": round(per_event_us, 1),
        "random_order": report["organic"].pop("model"),
        **{name: report["organic"][name] for name in rivals},
    }


def main() -> None:
    """Run, print a table, keep the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tune", action="store_true", help="compare decays on the last tenth of the first 80 %%")
    parser.add_argument("--out", type=Path, default=None, help="write the JSON result here")
    args = parser.parse_args()
    dataset = open_dataset(args.data)
    item_ids = [row.item.item_id for row in dataset.items()]
    events = list(dataset.interactions())
    rivals, split = (trials(), (0.72, 0.8)) if args.tune else (default_rivals(), (0.8, 1.0))
    result = stream(events, item_ids, rivals=rivals, split=split)
    print(f"{'':24} filtered: recall@10  ndcg@10      mrr   unfiltered: recall@10  ndcg@10")
    for name in ("random_order", *rivals):
        filtered, plain = result[name]["filtered"], result[name]["unfiltered"]
        print(
            f"{name:24} {filtered['recall_at_10']:18.4f} {filtered['ndcg_at_10']:9.4f} {filtered['mrr']:8.4f}"
            f" {plain['recall_at_10']:22.4f} {plain['ndcg_at_10']:8.4f}"
        )
    print({name: value for name, value in result.items() if not isinstance(value, dict)})
    if args.out is not None:
        args.out.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
