import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.encoder.batches import Batch
from models.encoder.parallel import ALONE, Processes, joined
from tests.models.encoder.parallel_run import new_trainer
from tests.models.encoder_fixtures import are_equal

DEADLINE_S = 100.0
Weights = dict[str, torch.Tensor]


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def start(folder: Path, fault: str = "none") -> list[subprocess.Popen[str]]:
    """Two processes as torchrun would start them, without torchrun, which would itself end what is left of them."""
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.models.encoder.parallel_run", str(folder), fault]
    return [
        subprocess.Popen(command, env=os.environ | place | {"RANK": rank}, stderr=subprocess.PIPE, text=True)
        for rank in ("0", "1")
    ]


def ended(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Exit status and standard error of each."""
    deadline = time.monotonic() + DEADLINE_S
    try:
        errors = [one.communicate(timeout=deadline - time.monotonic())[1] for one in processes]
        return [(one.returncode, error) for one, error in zip(processes, errors, strict=True)]
    finally:
        for one in processes:
            one.kill()


def weights_of(folder: Path) -> list[Weights]:
    """Those that each of two processes ended with."""
    return [load_file(folder / f"{rank}.safetensors") for rank in (0, 1)]


@pytest.mark.slow
def test_two_processes_end_with_the_same_weights_which_are_those_of_one_with_the_whole_batch(tmp_path: Path) -> None:
    processes = start(tmp_path)
    alone = new_trainer()
    expected: list[list[float]] = []
    alone.run(lambda report: expected.append([report.loss, report.n_targets, 0.0]))

    assert [status for status, _ in ended(processes)] == [0, 0]
    first, second = weights_of(tmp_path)
    losses = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert are_equal(first, second)
    assert losses[0] == losses[1]
    torch.testing.assert_close(torch.tensor(losses[0]), torch.tensor(expected), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(first, dict(alone.model.state_dict()), rtol=1e-2, atol=2e-3)


@pytest.mark.slow
def test_two_processes_stop_by_the_score_of_the_first_and_keep_the_same_epoch(tmp_path: Path) -> None:
    assert [status for status, _ in ended(start(tmp_path, "stopping"))] == [0, 0]

    first, second = weights_of(tmp_path)
    losses = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert [score for *_, score in losses[0]] == [0.0, 0.0, 0.5, 0.75, 0.5, 0.5]
    assert losses[0] == losses[1]
    assert are_equal(first, second)


@pytest.mark.slow
def test_two_processes_with_dropout_train_the_same_weights_again(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()

    processes = start(tmp_path, "dropout") + start(tmp_path / "again", "dropout")

    assert [status for status, _ in ended(processes)] == [0, 0, 0, 0]
    first, second = weights_of(tmp_path)
    again, _ = weights_of(tmp_path / "again")
    assert are_equal(first, second)
    assert are_equal(first, again)


@pytest.mark.slow
def test_a_process_that_dies_ends_the_other_which_says_so(tmp_path: Path) -> None:
    (status, error), (died, _) = ended(start(tmp_path, "dies"))

    assert (status, died) == (1, 9)
    assert "ParallelError: another process of this training is lost; start all again" in error


@pytest.mark.slow
def test_a_process_that_hangs_is_waited_for_no_longer_than_the_patience(tmp_path: Path) -> None:
    processes = start(tmp_path, "hangs")
    try:
        _, error = processes[0].communicate(timeout=DEADLINE_S)
    finally:
        processes[1].kill()
        processes[1].communicate()

    assert processes[0].returncode == 1
    assert "ParallelError: another process of this training is lost" in error


@pytest.mark.slow
def test_what_the_first_process_does_ahead_may_take_longer_than_the_patience(tmp_path: Path) -> None:
    assert ended(start(tmp_path, "first takes long")) == [(0, ""), (0, "")]


@pytest.mark.slow
def test_a_first_process_that_dies_ahead_of_the_others_ends_them_at_once(tmp_path: Path) -> None:
    (died, _), (status, error) = ended(start(tmp_path, "first dies"))

    assert (died, status) == (9, 1)
    assert "ParallelError: another process of this training is lost; start all again" in error


@pytest.mark.slow
def test_processes_that_start_from_other_weights_are_refused(tmp_path: Path) -> None:
    for status, error in ended(start(tmp_path, "other weights")):
        assert status == 1, error
        assert "ParallelError: processes [1] of 2 start from other data, settings, weights or checkpoint" in error


@pytest.mark.slow
def test_a_gradient_that_is_no_number_in_one_process_stops_both_at_the_same_step(tmp_path: Path) -> None:
    for status, error in ended(start(tmp_path, "no number")):
        assert status == 1, error
        assert "TrainingDiverged: gradient is nan in pretrain" in error
        assert "batch 1 of 4 of epoch 2" in error


def test_shares_hold_each_sequence_once() -> None:
    rows = torch.arange(10).view(5, 2)
    batch = Batch(rows, rows + 1, rows >= 0, lengths=torch.full((5,), 2))

    shares = [Processes(rank, 2).share(batch) for rank in (0, 1)]

    assert [share.rows[:, 0].tolist() for share in shares] == [[0, 4, 8], [2, 6]]
    assert [share.lengths.tolist() for share in shares] == [[2, 2, 2], [2, 2]]
    assert all(share.whole is batch for share in shares)
    assert all(torch.equal(batch.targets[share.own], share.targets) for share in shares)


def test_a_batch_without_a_target_for_each_process_is_taken_whole_by_all() -> None:
    rows = torch.arange(4).view(2, 2)
    batch = Batch(rows, rows + 1, torch.tensor([[True, True], [False, False]]), lengths=torch.full((2,), 2))

    assert Processes(0, 2).share(batch) is batch
    assert Processes(1, 2).share(batch) is batch


def test_without_torchrun_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)

    with joined() as processes:
        assert processes is ALONE
        assert processes.is_first
