"""What the demo plays: the synthetic shop or real data, which part is the past, and settings that suit the size."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freshet.left_out import say_left_out
from freshet.progress import say
from stream.kinds import EventKinds
from stream.replay.dataset import Dataset, DatasetError, open_dataset
from stream.replay.synthetic import SyntheticConfig, SyntheticDataset

PAST_SHARE = 0.8
MIN_INTERACTIONS = 1_000
CYCLES_A_RUN = 3
MAX_FIRST_EPOCHS = 8  # somebody is waiting for the first model


@dataclass(frozen=True)
class Script:
    """How a data set is played.

    Args:
        dataset: What is played.
        past: Interactions the first model learns from.
        live: Interactions played live in one run.
        rate: Live events a second; None is as fast as the slowest reader follows.
        overrides: Settings that suit the data's size, where the user gave none.
    """

    dataset: Dataset
    past: int
    live: int
    rate: float | None
    overrides: dict[str, Any]


def synthetic_script() -> Script:
    """The shop: 30,000 events are the past, each run plays 8,000 more in 50 seconds; the planted drift comes early."""
    config = SyntheticConfig(n_interactions=54_000, drift_share=0.6)
    overrides = {
        "text_tower": "tfidf",
        "first_finetune_epochs": 6,
        "first_max_finetune_epochs": MAX_FIRST_EPOCHS,
        "cycle_events": 2_000,
        "segment_s": 1.0,
        "gate_wait_s": 8.0,
    }
    return Script(SyntheticDataset(config), past=30_000, live=8_000, rate=160.0, overrides=overrides)


def data_script(folder: Path, *, kinds: EventKinds) -> Script:
    """Real data: the first 80 % of the events by time is the past, the rest is played as fast as everyone follows.

    Raises:
        DatasetError: the folder is none of the formats, or has too few interactions of these kinds.
    """
    dataset = open_dataset(folder, kinds=kinds)
    total = sum(1 for _ in dataset.interactions())
    if total < MIN_INTERACTIONS:
        say_left_out(dataset.bad_rows, 0, say)
        raise DatasetError(f"{folder} has {total} usable interactions; the demo needs {MIN_INTERACTIONS} to learn from")
    past = int(PAST_SHARE * total)
    overrides = {
        "first_events": min(5_000, past),
        "first_max_finetune_epochs": MAX_FIRST_EPOCHS,
        "cycle_events": max(100, (total - past) // CYCLES_A_RUN - 1_000),
        "segment_s": 2.0,
        "gate_wait_s": 10.0,
    }
    return Script(dataset, past=past, live=total - past, rate=None, overrides=overrides)
