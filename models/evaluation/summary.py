"""Figures of one model over several seeds: accuracy by protocol and slice, and what its lists show.

Every question's value is its mean over the seeds; intervals resample users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation.bootstrap import Interval, mean_intervals
from models.evaluation.exposure import (
    LIST_METRICS,
    Popularity,
    coverage,
    exposures,
    gini,
    group_shares,
    list_values,
)
from models.evaluation.ranking import Questions, Ranked
from models.evaluation.ranks import BoolArray, RankCounts

CUTS = (5, 10, 20)
METRICS = tuple(f"{name}@{k}" for k in CUTS for name in ("recall", "ndcg", "mrr"))
NEW_USER_EVENTS = 5  # a user's first events, whose history is shorter than that

Values = NDArray[np.float64]
Figures = dict[str, Any]


@dataclass(frozen=True)
class ItemFacts:
    """What a summary tells items apart by.

    Attributes:
        popularity: in training.
        has_text: (N,).
        has_image: (N,).
        groups: N times the groups an item belongs to; None where the data has none.
    """

    popularity: Popularity
    has_text: BoolArray
    has_image: BoolArray
    groups: Sequence[Sequence[str]] | None = None


def summarise(questions: Questions, ranked: Sequence[Ranked], facts: ItemFacts) -> Figures:
    """Everything about one model.

    Args:
        questions: what was asked.
        ranked: the answers, one a seed, at least one.
        facts: about the items.

    Returns:
        Plain values for JSON; a figure is {"mean", "low", "high", "by_seed"}.
    """
    filtered = _mean_values([one.filtered for one in ranked])
    unfiltered = _mean_values([one.unfiltered for one in ranked])
    users = questions.users
    everything = np.ones(len(users), np.bool_)
    result: Figures = {
        "n_seeds": len(ranked),
        "counts": _counts(questions, filtered[0]),
        "filtered": _figures(users, filtered, everything),
        "unfiltered": _figures(users, unfiltered, everything),
        "lists": _lists(questions, ranked, facts),
        "slices": {},
    }
    for name, asked in slices(questions, facts).items():
        result["slices"][name] = _slice(users, filtered, unfiltered, asked)
    if questions.is_withheld.any():
        inside = _mean_values([one.withheld_filtered for one in ranked])
        inside_unfiltered = _mean_values([one.withheld_unfiltered for one in ranked])
        result["slices"]["withheld_among_withheld"] = _slice(users, inside, inside_unfiltered, everything)
    if facts.groups is not None:
        result["exposure"] = _group_exposure(questions, ranked, facts.groups)
    return result


def slices(questions: Questions, facts: ItemFacts) -> dict[str, BoolArray]:
    """(Q,) questions by slice; those of which there is none are left out."""
    targets = questions.targets
    masks = {
        "head": facts.popularity.is_head[targets],
        "tail": ~facts.popularity.is_head[targets],
        "cold_items": facts.popularity.is_new[targets],
        "new_users": questions.n_before < NEW_USER_EVENTS,
        "no_text": ~facts.has_text[targets],
        "no_image": ~facts.has_image[targets],
        "withheld": questions.is_withheld[targets],
    }
    return {name: mask for name, mask in masks.items() if mask.any()}


def gains(questions: Questions, new: Sequence[Ranked], old: Sequence[Ranked]) -> Figures:
    """Mean difference new - old of the filtered metrics, each question's two answers paired."""
    differences = _mean_values([one.filtered for one in new])[0] - _mean_values([one.filtered for one in old])[0]
    everything = np.ones(len(differences), np.bool_)
    return _figures(questions.users, (differences, []), everything)


def metric_values(counts: RankCounts) -> Values:
    """(Q, 9) values in the order of `METRICS`; NaN where dropped."""
    columns = [metric(k) for k in CUTS for metric in (counts.recall_at, counts.ndcg_at, counts.reciprocal_ranks_at)]
    return np.stack(columns, axis=1)


_Seeds = tuple[Values, list[Values]]


def _mean_values(counts: Sequence[RankCounts]) -> _Seeds:
    """Each question's mean over the seeds, and the values by seed."""
    by_seed = [metric_values(one) for one in counts]
    return np.mean(by_seed, axis=0), by_seed


def _slice(users: NDArray[np.int64], filtered: _Seeds, unfiltered: _Seeds, asked: BoolArray) -> Figures:
    ranked = asked & ~np.isnan(filtered[0][:, 0])
    return {
        "counts": {"n": int(ranked.sum()), "n_users": len(np.unique(users[ranked]))},
        "filtered": _figures(users, filtered, asked),
        "unfiltered": _figures(users, unfiltered, asked),
    }


def _counts(questions: Questions, filtered: Values) -> dict[str, int]:
    is_ranked = ~np.isnan(filtered[:, 0])
    return {
        "n": int(is_ranked.sum()),
        "n_users": len(np.unique(questions.users[is_ranked])),
        "n_dropped": int((~is_ranked).sum()),
        "n_without_history": questions.n_without_history,
    }


def _figures(users: NDArray[np.int64], values: _Seeds, asked: BoolArray, names: Sequence[str] = METRICS) -> Figures:
    """Mean, interval and means by seed of each metric, over the asked questions that have a value."""
    mean, by_seed = values
    used = asked & ~np.isnan(mean[:, 0])
    if not used.any():
        return {}
    intervals = _intervals(users[used], mean[used])
    seeds = [one[used].mean(axis=0) for one in by_seed]
    figures = {name: interval._asdict() for name, interval in zip(names, intervals, strict=True)}
    for column, name in enumerate(names):
        if seeds:
            figures[name]["by_seed"] = [float(seed[column]) for seed in seeds]
    return figures


def _intervals(users: NDArray[np.int64], values: Values) -> list[Interval]:
    _, codes, counts = np.unique(users, return_inverse=True, return_counts=True)
    sums: Values = np.stack([np.bincount(codes, weights=column) for column in values.T], axis=1)  # (U, M)
    return mean_intervals(sums, counts)


def _lists(questions: Questions, ranked: Sequence[Ranked], facts: ItemFacts) -> Figures:
    """What the lists are like; coverage and Gini are of all lists together and have no interval over users."""
    n_items = len(questions.is_withheld)
    histories = [questions.data.rows[first:end] for first, end, _ in questions.spans.tolist()]
    by_seed = [list_values(one.shown, histories, facts.popularity) for one in ranked]
    everything = np.ones(len(histories), np.bool_)
    figures = _figures(questions.users, (np.mean(by_seed, axis=0), by_seed), everything, LIST_METRICS)
    for name, of_seed in {
        "coverage@10": [coverage(one.shown, n_items) for one in ranked],
        "gini@10": [gini(exposures(one.shown, n_items)) for one in ranked],
    }.items():
        figures[name] = {"mean": float(np.mean(of_seed)), "by_seed": of_seed}
    return figures


def _group_exposure(questions: Questions, ranked: Sequence[Ranked], groups: Sequence[Sequence[str]]) -> Figures:
    """By group: its share of what was shown, and of what came."""
    n_items = len(groups)
    shown = group_shares(np.sum([exposures(one.shown, n_items) for one in ranked], axis=0), groups)
    came = group_shares(np.bincount(questions.targets, minlength=n_items), groups)
    return {name: {"shown": shown.get(name, 0.0), "came": came.get(name, 0.0)} for name in {**came, **shown}}
