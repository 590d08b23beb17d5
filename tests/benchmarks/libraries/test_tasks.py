from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks.libraries.environments import Library, library_python, torch_requirement
from benchmarks.libraries.histories import Histories
from benchmarks.libraries.settings import TRIALS, RecToolsSettings
from benchmarks.libraries.tasks import Processes, Task, code_version, kept_folder, run
from benchmarks.libraries.worker import work
from models.encoder.batches import SequenceData

NOT_THERE = {"pydantic", "sklearn", "transformers", "prometheus_client", "structlog", "kafka", "fastapi"}


def small_histories() -> Histories:
    """Forty users who walk round a ring of twelve items."""
    users = np.repeat(np.arange(40), 8)
    rows = (users * 5 + np.tile(np.arange(8), 40)) % 12
    times_ms = np.tile(np.arange(8), 40) * 60_000
    return Histories(SequenceData.from_events(users, rows, times_ms), np.zeros(12, np.int64))


def test_histories_are_read_as_they_were_written(tmp_path: Path) -> None:
    histories = small_histories()

    histories.save(tmp_path / "histories.npz")
    read = Histories.load(tmp_path / "histories.npz")

    assert read.n_items == 12
    assert np.array_equal(read.events.rows, histories.events.rows)
    assert np.array_equal(read.events.starts, histories.events.starts)


def test_the_first_users_keep_all_their_events() -> None:
    few = small_histories().first_users(2)

    assert len(few.events.rows) == 16
    assert few.n_items == 12


def test_interactions_are_written_as_recbole_reads_them(tmp_path: Path) -> None:
    small_histories().first_users(1).save_interactions(tmp_path / "new" / "histories.inter")

    lines = (tmp_path / "new" / "histories.inter").read_text().splitlines()
    assert lines[:3] == ["user_id:token\titem_id:token\ttimestamp:float", "0\t0\t0", "0\t1\t60"]
    assert len(lines) == 9


def test_ours_is_timed_without_scoring() -> None:
    result = work(Task(part="speed", n_epochs=2), small_histories())

    assert [epoch["validation"] for epoch in result["epochs"]] == [None, None]
    assert result["epochs"][0]["n_targets"] == 40 * 5  # all but the first and the two that are asked


def test_ours_is_chosen_by_validation() -> None:
    result = work(Task(part="choose", n_epochs=2), small_histories())

    assert all(0 <= epoch["validation"] <= 1 for epoch in result["epochs"])


def test_ours_is_fitted_anew_and_asked() -> None:
    result = work(Task(part="final", n_epochs=1, seed=1), small_histories())

    assert result["epochs"][0]["n_targets"] == 40 * 6
    assert len(result["ranked"]["filtered"]["greater"]) == 40


def test_trials_have_names_of_their_own() -> None:
    assert len({trial.name for trial in TRIALS}) == len(TRIALS) == 10


def test_a_task_comes_back_from_its_json_as_it_was() -> None:
    task = Task(part="choose", settings=RecToolsSettings(lr=2e-3, history="pieces"), seed=2)

    assert msgspec.json.decode(msgspec.json.encode(task), type=Task) == task


def test_another_setting_is_another_task() -> None:
    one, other = RecToolsSettings(max_epochs=5), RecToolsSettings(max_epochs=6)

    assert Task(part="choose", settings=one).name != Task(part="choose", settings=other).name


def test_a_finished_task_is_not_done_again(tmp_path: Path) -> None:
    task = Task(part="choose")
    kept = kept_folder(tmp_path, "a data set")
    (kept / f"{task.name}-v1.json").write_text(json.dumps({"epochs": []}))

    processes = Processes(kept / "histories.npz", kept, {}, {"sasrec": "v1"})  # no Python that could do it

    assert processes.result(task) == {"epochs": []}


def test_a_task_of_another_version_of_the_code_is_done_again(tmp_path: Path) -> None:
    small_histories().save(tmp_path / "histories.npz")
    task = Task(part="choose", n_epochs=1)
    (tmp_path / f"{task.name}-v1.json").write_text(json.dumps({"epochs": []}))

    processes = Processes(tmp_path / "histories.npz", tmp_path, {"sasrec": Path(sys.executable)}, {"sasrec": "v2"})

    assert len(processes.result(task)["epochs"]) == 1


def test_the_version_of_code_changes_with_text_and_settings(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    file.write_text("one")
    first = code_version([file], "lr=1")
    file.write_text("other")

    assert len({first, code_version([file], "lr=1"), code_version([file], "lr=2")}) == 3


def test_a_failing_process_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="failed with 3"):
        run([sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "result.json")


def test_an_environment_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    library = Library("some", ("nothing==1",))
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / library.stamp).touch()

    assert library_python(library, tmp_path) == tmp_path / "some" / "bin" / "python"


def test_other_requirements_need_another_environment() -> None:
    assert Library("some", ("a==1",)).stamp != Library("some", ("a==2",)).stamp


def test_the_environment_of_a_library_has_all_that_is_imported_there() -> None:
    ours = (
        "benchmarks.libraries.worker, models.rivals.neural, models.evaluation.validation, benchmarks.libraries.pieces"
    )
    code = f"import {ours}, sys; print(sorted({{name.split('.')[0] for name in sys.modules}} & {NOT_THERE}))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_both_sides_run_on_the_same_release_of_torch() -> None:
    assert torch_requirement("2.6.0+cu124") == "torch==2.6.0"
