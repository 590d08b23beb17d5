"""`python -m benchmarks`: what it exits with."""

import subprocess
import sys

import pytest

from benchmarks.__main__ import main


@pytest.mark.parametrize(
    ("codes", "status"),
    [((0, 0), 0), ((0, -9), 1), ((-9, 0), 1), ((2, 0), 1)],
    ids=["right", "killed", "first", "failed"],
)
def test_a_benchmark_that_fails_or_is_killed_fails_the_whole_and_all_are_run(
    monkeypatch: pytest.MonkeyPatch, codes: tuple[int, ...], status: int
) -> None:
    waiting = list(codes)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "log", "store"])
    monkeypatch.setattr(subprocess, "run", lambda command, check: subprocess.CompletedProcess(command, waiting.pop(0)))

    assert main() == status
    assert waiting == []
