"""Subcommands that work on a data set, without a service: evaluate, pretrain, finetune, fit."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from freshet.settings import Settings, load_settings

if TYPE_CHECKING:
    from models.towers.building import TowerConfig


def add_offline(commands: Any) -> None:  # noqa: ANN401 - argparse's private type
    """Add the subcommands to the parser of `freshet`."""
    text = "compare models on a data set: full ranking, intervals, kept runs"
    evaluation: argparse.ArgumentParser = commands.add_parser("evaluate", help=text, description=text)
    _add_data(evaluation)
    evaluation.add_argument("--model", metavar="NAME,...", required=True, help="such as popularity,sasrec,m2se")
    evaluation.add_argument("--split", choices=("leave-one-out", "time"), default="leave-one-out")
    evaluation.add_argument("--seeds", type=int, default=1, metavar="N", help="trainings of each model (default: 1)")
    evaluation.add_argument("--withhold-items", type=float, default=0.0, metavar="SHARE", help="train without these")
    evaluation.add_argument("--newest", type=int, metavar="N", help="of each user only the newest N events")
    evaluation.add_argument("--group", metavar="ATTRIBUTE", help="report exposure by it (default: a usual one)")
    evaluation.add_argument("--runs", type=Path, default=Path("freshet-runs"), metavar="DIR", help="keep runs there")
    evaluation.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    evaluation.add_argument("--plot", type=Path, metavar="FILE", help="write a PNG there (default: beside the JSON)")
    evaluation.set_defaults(run=_evaluate)
    _add_fitting(commands, "pretrain", "train a model on a data set's content and order; it knows no item by its ID")
    finetune = _add_fitting(commands, "finetune", "go on from a pretrained model, with an ID for every item")
    finetune.add_argument("--parent", metavar="VERSION", help="pretrained version (default: the newest)")
    rival = _add_fitting(commands, "fit", "learn a rival, such as sasrec or cooccurrence, as a version to serve")
    rival.add_argument("--model", metavar="NAME", required=True, help="such as popularity, cooccurrence, sasrec")
    rival.set_defaults(run=_fit_rival)


def _add_fitting(commands: Any, phase: str, text: str) -> argparse.ArgumentParser:  # noqa: ANN401
    parser: argparse.ArgumentParser = commands.add_parser(phase, help=text, description=text)
    _add_data(parser)
    parser.add_argument(
        "--epochs", type=int, metavar="N", help="passes over the data (default: as usual, or as validation chooses)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of everything drawn (default: %(default)s)")
    parser.add_argument("--data-dir", type=Path, help="folder the service keeps everything in; models go there")
    parser.set_defaults(run=_fit, phase=phase, parent=None)
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", metavar="DIR", help="data folder; none is the synthetic shop")


def _evaluate(options: argparse.Namespace) -> int:
    from freshet.evaluation.command import EvaluateOptions, evaluate  # noqa: PLC0415 - torch takes seconds

    settings = load_settings()[0]
    asked = EvaluateOptions(
        data=options.data,
        models=tuple(options.model.split(",")),
        split=options.split,
        n_seeds=options.seeds,
        runs=options.runs,
        json=options.json,
        plot=options.plot,
        withheld=options.withhold_items,
        group=options.group,
        newest=options.newest,
        towers=_towers(settings),
    )
    return evaluate(asked, kinds=settings.event_kinds())


def _fit(options: argparse.Namespace) -> int:
    from freshet.fitting.fit import FitOptions, fit  # noqa: PLC0415 - torch takes seconds
    from freshet.training import encoder_shape  # noqa: PLC0415 - likewise

    common, settings = _asked_of_any(options)
    asked = FitOptions(phase=options.phase, parent=options.parent, shape=encoder_shape(settings), **common)
    return fit(asked, kinds=settings.event_kinds())


def _fit_rival(options: argparse.Namespace) -> int:
    from freshet.fitting.rival import RivalOptions, fit_rival  # noqa: PLC0415 - torch takes seconds

    common, settings = _asked_of_any(options)
    return fit_rival(RivalOptions(model=options.model, **common), kinds=settings.event_kinds())


def _asked_of_any(options: argparse.Namespace) -> tuple[dict[str, Any], Settings]:
    """What every fitting is asked for, and the settings in force."""
    settings = load_settings({"data_dir": options.data_dir})[0]
    common = {"data": options.data, "data_dir": settings.data_dir, "n_epochs": options.epochs, "seed": options.seed}
    return common | {"towers": _towers(settings)}, settings


def _towers(settings: Settings) -> "TowerConfig":
    """The towers in force; their seed stays the usual one, so that one catalogue's are made once for all seeds."""
    from models.towers.building import TowerConfig  # noqa: PLC0415 - torch takes seconds

    return TowerConfig(text=settings.text_tower, image=settings.image_tower)
