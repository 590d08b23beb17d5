"""What is measured, one process each, and the folder that finished tasks are kept in, so that a killed run goes on."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from benchmarks.libraries.settings import RecToolsSettings

OURS = "sasrec"
RECTOOLS = "rectools-sasrec"
RECBOLE = "recbole-sasrec"
THREADS = 2
TIMEOUT_S = 6 * 3600.0


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One measured thing.

    Attributes:
        part: see `worker`.
        settings: of RecTools' SASRec; None is ours.
        seed: of all it draws.
        n_epochs: as chosen; None leaves it to validation.
        threads: that it computes with.
        recipe: of ours, by its name in `models.rivals.build`.
    """

    part: Literal["speed", "choose", "final"]
    settings: RecToolsSettings | None = None
    seed: int = 0
    n_epochs: int | None = None
    threads: int = THREADS
    recipe: str = OURS

    @property
    def model(self) -> str:
        """Whose SASRec."""
        return OURS if self.settings is None else RECTOOLS

    @property
    def name(self) -> str:
        """Says what it is, and differs with everything it depends on but the data.

        >>> Task(part="final", seed=2, n_epochs=7).name
        'final-sasrec-seed2-epochs7'
        """
        what, trial = self.recipe, ""
        if self.settings is not None:
            what, trial = self.model, f"-{self.settings.name}-max{self.settings.max_epochs}"
        epochs = "" if self.n_epochs is None else f"-epochs{self.n_epochs}"
        threads = "" if self.threads == THREADS else f"-threads{self.threads}"
        return f"{self.part}-{what}{trial}-seed{self.seed}{epochs}{threads}"


@dataclass(frozen=True)
class Processes:
    """Runs tasks on one data set.

    Attributes:
        histories: file of the data set.
        kept: folder of finished tasks; one for each data set.
        pythons: by model, the Python that has it.
        versions: by model, what changes with its code; results of another version are not taken for its own.
    """

    histories: Path
    kept: Path
    pythons: dict[str, Path]
    versions: dict[str, str]

    def result(self, task: Task) -> dict[str, Any]:
        """The task's result, kept from an earlier sitting or made now.

        Raises:
            RuntimeError: the process failed.
        """
        path = self.kept / f"{task.name}-{self.versions[task.model]}.json"
        if not path.exists():
            self.measured(task, path)
        result: dict[str, Any] = json.loads(path.read_bytes())
        return result

    def measured(self, task: Task, path: Path) -> dict[str, Any]:
        """The task's result, made now and written to `path`.

        Raises:
            RuntimeError: the process failed.
        """
        options = [str(self.histories), str(path), "--task", msgspec.json.encode(task).decode()]
        script = [str(self.pythons[task.model]), "-m", "benchmarks.libraries.worker"]
        return run([*script, *options], path, threads=task.threads)


def run(command: list[str], result: Path, *, threads: int = THREADS) -> dict[str, Any]:
    """Run one measuring process, whose progress is shown, and read the result it wrote.

    Raises:
        RuntimeError: it failed.
    """
    print(" ".join(command[2:3] + command[5:]), flush=True)
    threads_of = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    environment = os.environ | threads_of | {"CUDA_VISIBLE_DEVICES": ""}  # all on processors
    done = subprocess.run(command, env=environment, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed with {done.returncode}; its last lines are above")
    written: dict[str, Any] = json.loads(result.read_bytes())
    return written


def code_version(files: Iterable[Path], settings: str) -> str:
    """Eight digits that change with the files' text and with the settings."""
    digest = hashlib.sha256(settings.encode())
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:8]


def kept_folder(folder: Path, fingerprint: str) -> Path:
    """Where the tasks on one data set are kept; made where it is missing."""
    kept = folder / hashlib.sha256(fingerprint.encode()).hexdigest()[:12]
    kept.mkdir(parents=True, exist_ok=True)
    return kept
