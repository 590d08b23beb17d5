"""Our SASRec and M2SE beside RecTools' and RecBole's SASRec: how fast they train, how good SASRec gets and how soon.

Command   python -m benchmarks.libraries --data PATH --json FILE [--only rectools|recbole] [--part speed|quality]
Data      a GroupLens folder (`ratings.dat`, `movies.dat`); leave-one-out
Hardware  2 CPU cores, both used; a package index, once, for an environment of each library's own
Minutes   speed 30; quality hours (each trial up to one), and it goes on where it was stopped
Expected  ML-1M, width 64, 2 layers, window 50, targets a second: our SASRec at least 2.5 times RecTools', M2SE at
          least 18,000 pretraining and 12,000 fine-tuning

Every measured thing is a process of its own, all on the same PyTorch and threads. Speed is in next-item targets
trained a second, in rounds in which all take turns; M2SE reads part vectors that are drawn, as wide as the product's
(`benchmarks.training`). For quality RecTools' SASRec is tuned on the second to last events
(`settings.TRIALS`; ours has two, `RECIPES`), epochs chosen there too; the best of either is fitted anew with these, and
the last events are asked; the scores of both are ranked by `models.evaluation`.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import training
from benchmarks.libraries import environments, figures
from benchmarks.libraries.histories import Histories
from benchmarks.libraries.settings import TRIALS, RecToolsSettings
from benchmarks.libraries.tasks import OURS, RECBOLE, RECTOOLS, THREADS, Processes, Task, code_version, kept_folder, run
from benchmarks.machine import machine
from freshet.evaluation.data import read_data
from models import encoder
from models.durable import write_durably
from models.rivals.build import NEXT_ITEM
from stream.kinds import DEFAULT_KINDS
from stream.replay.dataset import open_dataset

ROUNDS = 3
SPEED_EPOCHS = 3
M2SE = ("m2se-pretrain", "m2se-finetune")
EVERYBODY = 10**9  # users
RECIPES = (OURS, "sasrec-long")
"""Of ours, as they stand in `models.rivals.build`: 20 epochs at most, and 40."""
KEPT = Path(".cache/libraries")
SPEED_TASKS = {
    OURS: Task(part="speed", n_epochs=SPEED_EPOCHS),
    RECTOOLS: Task(part="speed", n_epochs=SPEED_EPOCHS, settings=RecToolsSettings(history="pieces")),
    f"{RECTOOLS}-newest": Task(part="speed", n_epochs=SPEED_EPOCHS, settings=RecToolsSettings()),
}

Keep = Callable[[dict[str, Any]], None]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.libraries", description="Compare with libraries.")
    parser.add_argument("--data", type=Path, required=True, help="a GroupLens folder")
    parser.add_argument("--json", type=Path, required=True, help="result file, rewritten after every measured thing")
    parser.add_argument("--only", choices=("rectools", "recbole"), help="one library (default: both)")
    parser.add_argument("--part", choices=("speed", "quality"), help="one part (default: both)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of all speeds (default: %(default)s)")
    parser.add_argument("--recbole-steps", type=int, default=10, help="of each of 6 windows (default: %(default)s)")
    parser.add_argument("--users", type=int, help="only the first so many users, to try it out")
    parser.add_argument("--trials", type=int, default=len(TRIALS), help="the first so many (default: %(default)s)")
    parser.add_argument("--max-epochs", type=int, default=100, help="of a trial (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=THREADS, help="of quality's tasks (default: %(default)s)")
    parser.add_argument(
        "--seeds", type=int, default=3, help="of quality's questions; 0 only chooses (default: %(default)s)"
    )
    parser.add_argument("--chosen", type=Path, help="an earlier result: its choices are taken (default: choose)")
    parser.add_argument(
        "--runs", type=Path, nargs="*", default=[], help="of ours, kept by `freshet evaluate`: compared, not fitted"
    )
    arguments = parser.parse_args()
    result: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "benchmarks.libraries", *sys.argv[1:]]),
        "machine": machine(),
        "users": arguments.users,
    }

    def keep(part: dict[str, Any]) -> None:
        result.update(part)
        write_durably(arguments.json, (json.dumps(result, indent=2) + "\n").encode())

    histories, processes = prepared(arguments)
    if arguments.part != "quality":
        measure_speed(processes, arguments, keep)
    if arguments.part != "speed" and arguments.only != "recbole":
        trials = [replace(trial, max_epochs=arguments.max_epochs) for trial in TRIALS[: arguments.trials]]
        measure_quality(histories, processes, trials, arguments, keep)
    print(arguments.json.read_text())


def prepared(arguments: argparse.Namespace) -> tuple[Histories, Processes]:
    """The data set, written where the processes read it, and the environments."""
    data = read_data(open_dataset(arguments.data), kinds=DEFAULT_KINDS)
    histories = Histories(data.events, data.live_from_ms)
    if arguments.users is not None:
        histories = histories.first_users(arguments.users)
    kept = kept_folder(KEPT, f"{data.fingerprint}-{arguments.users}")
    histories.save(kept / "histories.npz")
    histories.save_interactions(kept / "histories" / "histories.inter")
    pythons = {OURS: Path(sys.executable)}
    if arguments.only != "recbole":
        pythons[RECTOOLS] = environments.library_python(environments.rectools())
    if arguments.only != "rectools" and arguments.part != "quality":
        pythons[RECBOLE] = environments.library_python(environments.recbole())
    return histories, Processes(kept / "histories.npz", kept, pythons, versions())


def versions() -> dict[str, str]:
    """Of ours and of what drives RecTools: edited, they are measured anew."""
    root, here = Path(encoder.__file__).parents[1], Path(__file__).parent
    nets = [root / "rivals" / f"{name}.py" for name in ("config", "learners", "nets", "neural", "numbering")]
    return {
        OURS: code_version([*(root / "encoder").glob("*.py"), *nets], repr([NEXT_ITEM[recipe] for recipe in RECIPES])),
        RECTOOLS: code_version([here / "pieces.py", here / "rectools_model.py"], environments.rectools().stamp),
    }


def measure_speed(processes: Processes, arguments: argparse.Namespace, keep: Keep) -> None:
    """All in turns, `arguments.rounds` times."""
    rounds: dict[str, list[dict[str, Any]]] = {}
    for _ in range(arguments.rounds):
        for name, result in speeds(processes, arguments):
            measured = figures.speed(result["epochs"])
            rounds.setdefault(name, []).append(measured | {"peak_mb": result["peak_mb"], "torch": result["torch"]})
            keep({"speed": {"rounds": rounds, **figures.compared(rounds, ours=OURS)}})


def speeds(processes: Processes, arguments: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """One round."""
    for name in M2SE:
        yield name, m2se_speed(name, arguments)
    for name, task in SPEED_TASKS.items():
        if task.model in processes.pythons:
            yield name, processes.measured(task, processes.kept / f"{task.name}.json")
    if RECBOLE in processes.pythons:
        path = processes.kept / f"speed-{RECBOLE}.json"
        script = [str(processes.pythons[RECBOLE]), "-m", "benchmarks.libraries.recbole_speed"]
        yield RECBOLE, run([*script, str(processes.kept), str(path), "--steps", str(arguments.recbole_steps)], path)


def m2se_speed(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One phase of M2SE, as the others' processes tell it."""
    users = EVERYBODY if arguments.users is None else arguments.users
    asked = argparse.Namespace(data=arguments.data, users=users, epochs=SPEED_EPOCHS, threads=THREADS)
    found = training.measure_apart(name, asked)
    epochs = [dict(zip(("n_targets", "seconds", "cpu_s"), epoch, strict=True)) for epoch in found["epochs"]]
    return {"epochs": epochs, "peak_mb": found["peak_memory_mib"], "torch": found["torch"]}


def measure_quality(
    histories: Histories,
    processes: Processes,
    settings: Sequence[RecToolsSettings],
    arguments: argparse.Namespace,
    keep: Keep,
) -> None:
    """Choose, race, ask; every finished task is kept and not done again."""
    tasks = [Task(part="choose", recipe=recipe, threads=arguments.threads) for recipe in RECIPES]
    tasks += [Task(part="choose", settings=one, threads=arguments.threads) for one in settings]
    if arguments.chosen is None:
        trials = choose(processes, tasks, keep)
    else:
        trials = json.loads(arguments.chosen.read_bytes())["trials"]
        keep({"trials": trials})
    chosen = [_best(trials, [task for task in tasks if task.model == model]) for model in (OURS, RECTOOLS)]
    keep({"chosen": [task.name for task in chosen]})
    finals = [
        msgspec.structs.replace(task, part="final", n_epochs=int(trials[task.name]["n_epochs"]))
        for task in chosen
        if task.model == RECTOOLS or not arguments.runs
    ]
    ask(histories, processes, finals, arguments, keep)


def choose(processes: Processes, tasks: Sequence[Task], keep: Keep) -> dict[str, Any]:
    """What validation comes to, by the task's name; then the race of the best two."""
    trials: dict[str, Any] = {}
    epochs: dict[str, Any] = {}
    for task in tasks:
        result = processes.result(task)
        epochs[task.name] = result["epochs"]
        of_theirs = {} if task.settings is None else task.settings.to_dict()
        trials[task.name] = figures.chosen(result["epochs"]) | of_theirs | {"load_1_min": result["load_1_min"]}
        keep({"trials": trials})
    ours, theirs = (_best(trials, [task for task in tasks if task.model == model]).name for model in (OURS, RECTOOLS))
    keep({"race": figures.race(epochs[theirs], epochs[ours])})
    return trials


def _best(trials: Mapping[str, Any], tasks: Sequence[Task]) -> Task:
    """The task with the best validation score."""
    return max(tasks, key=lambda task: trials[task.name]["validation_ndcg_at_10"])


def ask(
    histories: Histories, processes: Processes, finals: Sequence[Task], arguments: argparse.Namespace, keep: Keep
) -> None:
    """Each fitted anew and asked the last events, seed by seed; then the gains over RecTools'."""
    questions = histories.questions()
    results: dict[str, list[dict[str, Any]]] = {}
    for path in arguments.runs:
        model, ranked = figures.kept_run(path)
        results.setdefault(model, []).append(ranked)
    for seed in range(arguments.seeds):
        for task in finals:
            results.setdefault(task.model, []).append(processes.result(msgspec.structs.replace(task, seed=seed)))
            keep({"accuracy": {name: figures.accuracy(questions, those) for name, those in results.items()}})
    if arguments.seeds:
        theirs = results.pop(RECTOOLS)
        keep({"gains": {name: figures.gain(questions, those, theirs) for name, those in results.items()}})


if __name__ == "__main__":
    main()
