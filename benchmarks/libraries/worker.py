"""One thing measured, in a process of its own: `python -m benchmarks.libraries.worker HISTORIES RESULT --task JSON`.

Runs in our environment for our SASRec and in RecTools' for theirs; everything but the model is the same code.

    speed    epochs on all but the last two events of every user, nothing scored
    choose   the same, watched on the second to last events; stops when they are predicted no better
    final    fitted anew with those for the chosen number of epochs, then asked every last event
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import torch

from benchmarks.libraries.histories import Histories
from benchmarks.libraries.tasks import Task
from models.durable import write_durably
from models.encoder.batches import SequenceData
from models.evaluation.ranking import rank_all
from models.rivals.recommender import FitReport, Recommender


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure one thing.")
    parser.add_argument("histories", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--task", type=lambda text: msgspec.json.decode(text, type=Task), required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.task.threads)
    result = work(arguments.task, Histories.load(arguments.histories))
    write_durably(arguments.result, json.dumps(result).encode())


def work(task: Task, histories: Histories) -> dict[str, Any]:
    """Fit as the task says.

    Returns:
        The epochs, the load before, the process's peak memory in MB, and the ranks of all questions where it asks.
    """
    load = os.getloadavg()[0]
    split = histories.split()
    learned = split.refit if task.part == "final" else split.train
    model = _model(task, histories, learned)
    epochs: list[dict[str, Any]] = []
    started = time.perf_counter()
    validation = split.validation if task.part == "choose" else None
    model.fit(learned, validation=validation, on_epoch=_noted(epochs))
    result: dict[str, Any] = {
        "epochs": epochs,
        "fit_s": time.perf_counter() - started,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "load_1_min": round(load, 2),
    }
    if task.part == "final":
        ranked = rank_all(model, histories.questions())
        result["ranked"] = {
            name: {"greater": counts.greater.tolist(), "equal": counts.equal.tolist()}
            for name, counts in (("filtered", ranked.filtered), ("unfiltered", ranked.unfiltered))
        }
    return result | {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}


def _model(task: Task, histories: Histories, learned: SequenceData) -> Recommender:
    catalogue = histories.catalogue(learned)
    if task.settings is None:
        from models.rivals.build import build  # noqa: PLC0415 - the memories it knows as well need more packages

        return build(task.recipe, catalogue, seed=task.seed, n_epochs=task.n_epochs)
    from benchmarks.libraries.rectools_model import RecToolsSASRec  # noqa: PLC0415 - only where RecTools is

    return RecToolsSASRec(catalogue, task.settings, seed=task.seed, n_epochs=task.n_epochs)


def _noted(epochs: list[dict[str, Any]]) -> Callable[[FitReport], None]:
    """Notes each epoch and the CPU time since the last was noted, its scoring included."""
    noted_s = [_cpu_s()]

    def on_epoch(report: FitReport) -> None:
        now_s = _cpu_s()
        epochs.append(asdict(report) | {"cpu_s": now_s - noted_s[0]})
        noted_s[0] = now_s
        score = "" if report.validation is None else f" validation {report.validation:.4f}"
        print(f"  epoch {report.epoch} loss {report.loss:.3f}{score} {report.seconds:.1f} s", flush=True)

    return on_epoch


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system


if __name__ == "__main__":
    main()
