"""From what the processes measured to the figures that are reported."""

from __future__ import annotations

import gzip
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.evaluation.exposure import Popularity
from models.evaluation.ranking import N_SHOWN, NOTHING, Questions, Ranked
from models.evaluation.ranks import RankCounts
from models.evaluation.summary import Figures, ItemFacts, gains, summarise

Epochs = Sequence[Mapping[str, Any]]


def speed(epochs: Epochs) -> dict[str, float]:
    """Targets a second by wall and by CPU second: the median of all epochs but the first, which warms up.

    Raises:
        ValueError: there are not two epochs.
    """
    if len(epochs) < 2:
        raise ValueError(f"{len(epochs)} epochs measured; at least 2 are needed, the first warms up")
    measured = epochs[1:]
    return {
        "targets_per_s": round(statistics.median(one["n_targets"] / one["seconds"] for one in measured)),
        "targets_per_cpu_s": round(statistics.median(one["n_targets"] / one["cpu_s"] for one in measured)),
        "n_targets": measured[0]["n_targets"],
    }


def compared(rounds: Mapping[str, Sequence[Mapping[str, Any]]], *, ours: str) -> dict[str, dict[str, float]]:
    """Medians over the rounds, and that of `ours` as a ratio to each other; no ratios before it had its turn."""
    medians = {name: statistics.median(one["targets_per_s"] for one in those) for name, those in rounds.items()}
    others = medians.keys() - {ours} if ours in medians else ()
    ratios = {name: round(medians[ours] / medians[name], 2) for name in sorted(others)}
    return {"median_targets_per_s": medians, "ours_to": ratios}


def chosen(epochs: Epochs) -> dict[str, float]:
    """The best validation score, its epoch, the earliest of equals, and the seconds of training until then."""
    best = max(epochs, key=lambda epoch: epoch["validation"])
    return {
        "validation_ndcg_at_10": best["validation"],
        "n_epochs": best["epoch"],
        "seconds": sum(epoch["seconds"] for epoch in epochs[: best["epoch"]]),
        "n_epochs_run": len(epochs),
    }


def seconds_to(value: float, epochs: Epochs) -> float | None:
    """Seconds of training until a validation score of at least `value`; None where it was never reached."""
    reached = next((at for at, epoch in enumerate(epochs) if epoch["validation"] >= value), None)
    return None if reached is None else sum(epoch["seconds"] for epoch in epochs[: reached + 1])


def race(theirs: Epochs, ours: Epochs) -> dict[str, float | None]:
    """Their time to their best validation score, and ours to the same value."""
    best = chosen(theirs)
    seconds = seconds_to(best["validation_ndcg_at_10"], ours)
    return {
        "validation_ndcg_at_10": best["validation_ndcg_at_10"],
        "rectools_s": best["seconds"],
        "ours_s": seconds,
        "ours_to_rectools": None if seconds is None else seconds / best["seconds"],
    }


def kept_run(path: Path) -> tuple[str, dict[str, Any]]:
    """Model and answers of a run that `freshet evaluate` kept, these as a final task tells them."""
    file = json.loads(gzip.decompress(path.read_bytes()))
    pairs = {name: dict(zip(("greater", "equal"), pair, strict=True)) for name, pair in file["run"]["ranks"].items()}
    return file["key"]["model"], {"ranked": pairs}


def ranked(result: Mapping[str, Any]) -> Ranked:
    """The answers of a final task; nothing was withheld, and what was shown was not kept."""
    counts = {
        name: RankCounts(np.array(one["greater"], np.int64), np.array(one["equal"], np.int64))
        for name, one in result["ranked"].items()
    }
    n_questions = len(counts["filtered"].greater)
    nothing = RankCounts(np.zeros(n_questions, np.int64), np.zeros(n_questions, np.int64))
    shown = np.full((n_questions, N_SHOWN), NOTHING)
    return Ranked(counts["filtered"], counts["unfiltered"], nothing, nothing, shown)


def accuracy(questions: Questions, results: Sequence[Mapping[str, Any]]) -> Figures:
    """Accuracy over the seeds with intervals over users."""
    everything = np.ones(len(questions.is_withheld), np.bool_)
    facts = ItemFacts(Popularity(everything.astype(np.int64)), everything, everything)
    figures = summarise(questions, [ranked(one) for one in results], facts)
    return {name: figures[name] for name in ("n_seeds", "counts", "filtered", "unfiltered")}


def gain(questions: Questions, new: Sequence[Mapping[str, Any]], old: Sequence[Mapping[str, Any]]) -> Figures:
    """Difference of the filtered metrics, each question's two answers paired."""
    return gains(questions, [ranked(one) for one in new], [ranked(one) for one in old])
