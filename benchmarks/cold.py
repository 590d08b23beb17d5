"""How well new items and new users are served: items and users that training never saw.

Command:   python -m benchmarks.cold --data DIR --json FILE [--models NAME,...] [--newest N] [--seeds N]
           [--runs FOLDER]
Data:      a data set as `freshet evaluate` reads it, or `generated`: a synthetic shop of 2,000 items. A random tenth
           of the items is withheld from training with all their events; asked are the last tenth of all events.
Hardware:  1 CPU core is used (OMP_NUM_THREADS=1). A training takes minutes: `fit_s` of the results, on two cores that
           others shared; a model's first also chose its settings. Runs are kept in FOLDER, and the same command goes
           on after a kill.
Expected:  of events whose item was withheld, Recall@10 at least 1.5 times that of content-knn, ranked among the
           withheld items and among all; of users' first events, NDCG@10 above that of sasrec.
           What it came to stands in docs/cold-start.md.

Every ratio and difference is of the same events, seeds averaged first; intervals are 95 %, users resampled.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import keep, machine
from freshet.evaluation.command import EvaluateOptions, run_all
from freshet.evaluation.trial import Build
from models.encoder.batches import SequenceData
from models.evaluation.bootstrap import N_RESAMPLES
from models.evaluation.ranking import Questions, Ranked, rank_all
from models.evaluation.ranks import BoolArray, IntArray
from models.evaluation.summary import NEW_USER_EVENTS
from models.rivals.build import build
from models.rivals.recommender import FitReport
from stream.kinds import DEFAULT_KINDS
from stream.replay.shop.shoppers import COMPLEMENT, OTHER_TASTE, SAME_LOOK
from stream.replay.shop.styles import COMPLEMENTS
from stream.replay.synthetic import SyntheticConfig, SyntheticDataset

GENERATED = "generated"
SHOP = SyntheticConfig(n_items=2_000, n_users=2_000, n_interactions=30_000, picture_px=64)
"""Large enough that ten of the withheld items are few; what can be reached at all there, `ShopRule` tells."""

OURS = ("m2se", "m2se-pretrained")
CONTENT_RIVAL, ID_RIVAL = "content-knn", "sasrec"
RULE = "shop-rule"
MODELS = ("m2se", CONTENT_RIVAL, ID_RIVAL, "m2se-pretrained")
WITHHELD = 0.1
ASKED_RATIO = 1.5  # of the content rival's Recall@10, on withheld items
K = 10

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Asked:
    """One metric of some questions by all models.

    Attributes:
        users: (Q,) whose question it is.
        values: (Q,) by model, the mean over its seeds.
        by_seed: by model, each seed's mean; None without questions.
    """

    users: IntArray
    values: Mapping[str, Values]
    by_seed: Mapping[str, list[float | None]]

    @classmethod
    def of(cls, users: IntArray, by_seed: Mapping[str, list[Values]], asked: BoolArray) -> Asked:
        """The questions of `asked` (Q,) that were ranked; a dropped one's values are NaN in all models."""
        ranked = asked & ~np.isnan(next(iter(by_seed.values()))[0])
        return cls(
            users[ranked],
            {name: np.mean(seeds, axis=0)[ranked] for name, seeds in by_seed.items()},
            {name: [_mean(one[ranked]) for one in seeds] for name, seeds in by_seed.items()},
        )

    def report(self, rival: str) -> dict[str, Any]:
        """Every model's mean, and ours beside the rival's where it ran, each with its interval."""
        sums = {name: self._by_user(values) for name, values in self.values.items()}
        n = self._by_user(np.ones(len(self.users)))
        ours = [name for name in (*OURS, RULE) if name in sums and rival in sums]
        return {
            "n_events": len(self.users),
            "n_users": len(n),
            "mean": {name: interval(sums[name], n) for name in sums},
            "by_seed": dict(self.by_seed),
            f"over_{rival}": {name: interval(sums[name], sums[rival]) for name in ours},
            f"above_{rival}": {name: interval(sums[name] - sums[rival], n) for name in ours},
        }

    def _by_user(self, values: Values) -> Values:
        """(U,) sums."""
        users, codes = np.unique(self.users, return_inverse=True)
        sums = np.zeros(len(users))
        np.add.at(sums, codes, values)
        return sums


def interval(above: Values, below: Values) -> dict[str, float | None]:
    """A ratio of two sums over users and its 95 % percentile bootstrap interval, users drawn with replacement.

    Args:
        above: (U,) each user's part of the numerator.
        below: (U,) of the denominator; the number of events for a mean over events, the rival's sum for a ratio.

    Returns:
        `mean`, `low` and `high`; None where the denominator is 0.
    """
    rng = np.random.default_rng(0)
    n_users = len(above)
    found = [_ratio(float(above.sum()), float(below.sum()))]
    for _ in range(N_RESAMPLES):
        times = np.bincount(rng.integers(0, n_users, size=n_users), minlength=n_users)
        found.append(_ratio(float(times @ above), float(times @ below)))
    low, high = np.quantile(found[1:], [0.025, 0.975], method="nearest").tolist()
    return {name: _figure(value) for name, value in (("mean", found[0]), ("low", low), ("high", high))}


def _mean(values: Values) -> float | None:
    return _figure(_ratio(float(values.sum()), len(values)))


def _ratio(above: float, below: float) -> float:
    return above / below if below else float("inf")


def _figure(value: float) -> float | None:
    return round(value, 5) if np.isfinite(value) else None


class ShopRule:
    """Knows every item's look and by what rule people go on: about all that content can tell of an item nobody met.

    It knows neither what sells nor the drift.

    Args:
        shop: the generated one.
        item_ids: N, in the catalogue's order.
    """

    name = RULE

    def __init__(self, shop: SyntheticDataset, item_ids: Sequence[str]) -> None:
        attributes = {row.item.item_id: row.item.attributes for row in shop.items()}
        looks = [(attributes[item_id]["category"], attributes[item_id]["style"]) for item_id in item_ids]
        number = {look: n for n, look in enumerate(sorted(set(looks)))}
        self._look_of = np.array([number[look] for look in looks])  # (N,)
        self._complement = [number.get((COMPLEMENTS[category], style)) for category, style in number]

    def fit(
        self, train: SequenceData, *, validation: SequenceData | None, on_epoch: Callable[[FitReport], None]
    ) -> None:
        """Nothing to learn."""

    def scores(self, histories: Sequence[IntArray], times_ms: Sequence[IntArray]) -> NDArray[np.float32]:
        """(B, N) how likely the next item has each item's look."""
        return np.stack([self._chances(self._look_of[history])[self._look_of] for history in histories])

    def _chances(self, looks: IntArray) -> NDArray[np.float32]:
        """By look, after looks (n,), oldest first."""
        chances = np.bincount(looks, minlength=len(self._complement)) * (OTHER_TASTE / len(looks))
        chances[looks[-1]] += SAME_LOOK
        complement = self._complement[looks[-1]]
        if complement is not None:
            chances[complement] += COMPLEMENT
        return chances.astype(np.float32)


def figures(questions: Questions, ranked: Mapping[str, Sequence[Ranked]]) -> dict[str, Any]:
    """Everything that is asked of cold items and of new users, from the answers by model, one a seed."""

    def each(metric: Callable[[Ranked], Values]) -> dict[str, list[Values]]:
        return {name: [metric(one) for one in seeds] for name, seeds in ranked.items()}

    recall, inside = each(lambda one: one.filtered.recall_at(K)), each(lambda one: one.withheld_filtered.recall_at(K))
    ndcg, shortened = each(lambda one: one.filtered.ndcg_at(K)), each(lambda one: one.filtered.ndcg_at(K - 1))
    users = questions.users
    is_withheld = questions.is_withheld[questions.targets]
    is_new_user = questions.n_before < NEW_USER_EVENTS
    return {
        f"withheld_recall@{K}_among_withheld": Asked.of(users, inside, is_withheld).report(CONTENT_RIVAL),
        f"withheld_recall@{K}_among_all": Asked.of(users, recall, is_withheld).report(CONTENT_RIVAL),
        f"withheld_recall@{K}_with_a_place_kept": Asked.of(users, each(kept_place), is_withheld).report(CONTENT_RIVAL),
        f"ndcg@{K}_of_items_in_training": Asked.of(users, ndcg, ~is_withheld).report(ID_RIVAL),
        f"ndcg@{K}_of_items_in_training_with_a_place_kept": Asked.of(users, shortened, ~is_withheld).report(ID_RIVAL),
        f"first_events_ndcg@{K}_of_items_in_training": Asked.of(users, ndcg, is_new_user & ~is_withheld).report(
            ID_RIVAL
        ),
        f"first_events_ndcg@{K}": Asked.of(users, ndcg, is_new_user).report(ID_RIVAL),
    }


def kept_place(answers: Ranked) -> Values:
    """(Q,) Recall@K where the last place is the best withheld item's.

    Nearly as feeds keep it for a newcomer (ADR 0007): they look at the twenty newest alone, and give the place up where
    a newcomer is in the list by its own score.
    """
    shown: Values = np.fmax(answers.filtered.recall_at(K - 1), answers.withheld_filtered.recall_at(1))
    return shown


def measure(arguments: argparse.Namespace, *, build_model: Build = build) -> dict[str, Any]:
    """Train what is not kept yet, then sum up."""
    before = machine()
    options = EvaluateOptions(
        data=arguments.data,
        models=tuple(arguments.models.split(",")),
        split="time",
        n_seeds=arguments.seeds,
        runs=arguments.runs,
        withheld=WITHHELD,
        newest=arguments.newest,
    )
    shop = SyntheticDataset(SHOP) if arguments.data == GENERATED else None
    done = run_all(options, kinds=DEFAULT_KINDS, build_model=build_model, dataset=shop)
    ranked = dict(done.ranked)
    if shop is not None:
        rule = ShopRule(shop, [item.item_id for item in done.data.items])
        ranked[RULE] = [rank_all(rule, done.trial.questions)]
    newest = f" --newest {arguments.newest}" if arguments.newest else ""
    options_given = f"--data {Path(arguments.data).name}{newest} --models {arguments.models} --seeds {arguments.seeds}"
    return {
        "command": f"python -m benchmarks.cold {options_given}",
        "machine": before,
        "data": {
            "name": done.data.name,
            "n_items": len(done.data.items),
            "n_withheld": int(done.trial.questions.is_withheld.sum()),
            "n_users": len(done.data.events.starts) - 1,
            "n_events": len(done.data.events.rows),
        },
        "asked": {"withheld_recall_over_content_knn": ASKED_RATIO, "first_events_ndcg_above_sasrec": 0.0},
        "n_epochs": {name: [run.choice.n_epochs for run in runs] for name, runs in done.runs.items()},
        "fit_s": {name: [round(run.fit_s) for run in runs] for name, runs in done.runs.items()},
        "figures": figures(done.trial.questions, ranked),
    }


def main() -> None:
    """Run, print, keep the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help=f"data folder, or {GENERATED!r} for the shop made here")
    parser.add_argument("--json", type=Path, required=True, help="result file")
    parser.add_argument("--models", default=",".join(MODELS), help="ours and rivals (default: %(default)s)")
    parser.add_argument("--newest", type=int, default=None, help="of each user only the newest N events")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each model (default: %(default)s)")
    parser.add_argument("--runs", type=Path, default=Path("freshet-runs"), help="keep runs there")
    arguments = parser.parse_args()
    keep(measure(arguments), arguments.json)


if __name__ == "__main__":
    main()
