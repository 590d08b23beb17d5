"""`freshet evaluate`: models compared on one data set by one protocol, run by run, resumable.

data set -> split -> (model, seed): choose, refit, ask -> figures -> table, JSON, picture
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from freshet.evaluation.content import catalogue_towers, encode_catalogue, towers_here
from freshet.evaluation.data import EvaluationData, EvaluationError, read_data, thinned
from freshet.evaluation.outputs import PICTURE, check_outputs, check_runs
from freshet.evaluation.plot import plot
from freshet.evaluation.runs import Run, RunKey, Runs
from freshet.evaluation.table import table
from freshet.evaluation.trial import WITHOUT_CONTENT, Build, Training, Trial, config_of
from freshet.progress import say
from models.content.table import ContentTable
from models.durable import write_durably
from models.evaluation.exposure import Popularity
from models.evaluation.ranking import Questions, Ranked
from models.evaluation.ranks import BoolArray
from models.evaluation.splits import Split, by_time, drawn_items, leave_one_out
from models.evaluation.summary import ItemFacts, gains, summarise
from models.examples import question_spans
from models.rivals.build import NAMES, build
from models.towers.building import TowerConfig
from stream.kinds import EventKinds
from stream.replay.dataset import Dataset, open_dataset

SPLITS = ("leave-one-out", "time")
MIN_NEWEST = 3  # a user with fewer is in no leave-one-out split
WITHHELD_SEED = 0  # the same items whatever the models' seeds


@dataclass(frozen=True)
class EvaluateOptions:
    """What was asked for.

    Attributes:
        data: folder of the data set; None is the synthetic shop.
        models: names, as in `models.rivals.build.NAMES`.
        split: one of `SPLITS`.
        n_seeds: each model is trained with seeds 0, 1, ...
        runs: folder that runs, towers and vectors are kept in.
        json: where the figures go; None for the terminal only.
        plot: where the picture goes; None for beside the JSON, if there is one.
        withheld: share of the items kept out of training.
        group: attribute to report exposure by; None looks for a usual one.
        newest: of each user only so many events; None for all.
        towers: what encodes the content.
    """

    data: str | None
    models: tuple[str, ...]
    split: str = SPLITS[0]
    n_seeds: int = 1
    runs: Path = Path("freshet-runs")
    json: Path | None = None
    plot: Path | None = None
    withheld: float = 0.0
    group: str | None = None
    newest: int | None = None
    towers: TowerConfig = field(default_factory=TowerConfig)

    def __post_init__(self) -> None:
        unknown = ", ".join(name or "(nothing)" for name in self.models if name not in NAMES)
        if unknown:
            raise EvaluationError(f"--model {unknown} is not known; there are {', '.join(NAMES)}")
        if len(set(self.models)) < len(self.models):
            raise EvaluationError(f"--model {','.join(self.models)} names a model twice; name each once")
        if self.n_seeds < 1:
            raise EvaluationError(f"--seeds {self.n_seeds} must be at least 1; 3 are usual")
        if not 0 <= self.withheld <= 0.5:
            raise EvaluationError(f"--withhold-items {self.withheld:g} must be at least 0 and at most 0.5")
        if self.newest is not None and self.newest < MIN_NEWEST:
            raise EvaluationError(f"--newest {self.newest} must be at least {MIN_NEWEST}: one to learn, two to ask")
        check_outputs(self.json, self.plot)
        check_runs(self.runs)


@dataclass(frozen=True)
class Evaluated:
    """All runs that were asked for, and what they are of.

    Attributes:
        data: the data set.
        trial: its split and its questions.
        runs: by model, one a seed.
    """

    data: EvaluationData
    trial: Trial
    runs: dict[str, list[Run]]

    @property
    def ranked(self) -> dict[str, list[Ranked]]:
        """The answers by model, one a seed."""
        return {name: [run.ranked for run in of_model] for name, of_model in self.runs.items()}


def evaluate(options: EvaluateOptions, *, kinds: EventKinds, build_model: Build = build) -> int:
    """Run what is not kept yet, then report on all of it.

    Args:
        options: what was asked for.
        kinds: which events enter a history and which are targets.
        build_model: makes the models.

    Raises:
        EvaluationError, SplitError: this cannot be evaluated.
        BadRun: a kept run is damaged.
        DatasetError: the data set cannot be read.
        TrainingDiverged, TowerError: a model could not be made.
    """
    try:
        evaluated = run_all(options, kinds=kinds, build_model=build_model)
    except KeyboardInterrupt:
        say(f"stopped; what is done lies in {options.runs}, and the same command goes on from there")
        raise
    _report(options, _compared(options, evaluated))
    return 0


def run_all(
    options: EvaluateOptions, *, kinds: EventKinds, build_model: Build = build, dataset: Dataset | None = None
) -> Evaluated:
    """Run what is not kept yet.

    Arguments and exceptions are those of `evaluate`; a `dataset` given stands in the place of `options.data`.
    """
    dataset = dataset or open_dataset(options.data, kinds=kinds)
    data = read_data(dataset, kinds=kinds, group=options.group)
    if options.newest is not None:
        data = thinned(data, options.newest)
    is_withheld = _withheld(len(data.items), options.withheld)
    split = _split(data, options.split).without(is_withheld)
    questions = Questions(split.test, data.live_from_ms, is_withheld)
    _check(split, questions)
    towers = towers_here(options.towers, say=say) if set(options.models) - WITHOUT_CONTENT else options.towers
    options = replace(options, towers=towers)
    training = Training(split, len(data.items), _content(options, data, split, is_withheld), build_model)
    trial = Trial(training, questions, Runs(options.runs, n_questions=len(questions.spans)), say)
    runs = {
        name: [trial.run(_key(options, data, name, seed)) for seed in range(options.n_seeds)] for name in options.models
    }
    return Evaluated(data, trial, runs)


def _withheld(n_items: int, share: float) -> BoolArray:
    return drawn_items(n_items, share=share, seed=WITHHELD_SEED) if share else np.zeros(n_items, np.bool_)


def _split(data: EvaluationData, name: str) -> Split:
    return leave_one_out(data.events) if name == "leave-one-out" else by_time(data.events)


def _check(split: Split, questions: Questions) -> None:
    if not len(questions.spans):
        raise EvaluationError(
            f"none of {questions.n_without_history} events can be asked: each comes in its user's first second; "
            "give longer histories"
        )
    is_learned = np.bincount(split.train.rows, minlength=len(questions.is_withheld)) > 0
    chosen_by = split.validation
    n_events = int(chosen_by.is_target.sum())
    if not len(question_spans(chosen_by, asked=is_learned[chosen_by.rows], limit=max(n_events, 1), seed=0)):
        raise EvaluationError(
            f"none of {n_events} validation events can be asked: each needs an earlier second in its user's history "
            f"and an item among the {int(is_learned.sum())} that training sees; withhold fewer items, or take more data"
        )


def _content(
    options: EvaluateOptions, data: EvaluationData, split: Split, is_withheld: BoolArray
) -> Callable[[], ContentTable]:
    """Encodes the catalogue at the first call, if there is one."""
    is_known = ~is_withheld
    if split.test_start_ms is not None:
        is_known &= data.live_from_ms < split.test_start_ms

    @cache
    def encoded() -> ContentTable:
        towers = catalogue_towers(data, is_known=is_known, folder=options.runs, say=say, config=options.towers)
        return encode_catalogue(data, towers, folder=options.runs, say=say)

    return encoded


def _key(options: EvaluateOptions, data: EvaluationData, model: str, seed: int) -> RunKey:
    return RunKey(
        model=model,
        config=config_of(model),
        seed=seed,
        data_name=data.name,
        data=data.fingerprint,
        split=options.split,
        withheld=options.withheld,
        towers="" if model in WITHOUT_CONTENT or options.towers == TowerConfig() else repr(options.towers),
    )


def _compared(options: EvaluateOptions, done: Evaluated) -> dict[str, Any]:
    data, trial, ranked = done.data, done.trial, done.ranked
    facts = ItemFacts(
        Popularity.of(trial.training.split.refit, len(data.items)),
        data.has_text,
        data.has_image,
        data.groups if data.group_name else None,
    )
    models = {name: summarise(trial.questions, answers, facts) for name, answers in ranked.items()}
    for name, of_model in done.runs.items():
        models[name]["n_epochs"] = [run.choice.n_epochs for run in of_model]
    first, *others = options.models
    return {
        "title": _title(options, data.name),
        "data": {
            "name": data.name,
            "fingerprint": data.fingerprint,
            "n_items": len(data.items),
            "n_users": len(data.events.starts) - 1,
            "n_events": len(data.events.rows),
            "n_left_out": data.n_left_out,
        },
        "split": options.split,
        "withheld": options.withheld,
        "newest": options.newest,
        "group": data.group_name,
        "models": models,
        "gains": {first: {other: gains(trial.questions, ranked[first], ranked[other]) for other in others}},
    }


def _title(options: EvaluateOptions, name: str) -> str:
    withheld = f", {options.withheld:.0%} withheld" if options.withheld else ""
    newest = f", newest {options.newest} events a user" if options.newest else ""
    return f"{name}, {options.split}{withheld}{newest}"


def _report(options: EvaluateOptions, comparison: dict[str, Any]) -> None:
    print(table(comparison))
    if options.json:
        write_durably(options.json, (json.dumps(comparison, indent=1) + "\n").encode())
    picture = options.plot or (options.json.with_suffix(PICTURE) if options.json else None)
    if picture:
        write_durably(picture, plot(comparison))
