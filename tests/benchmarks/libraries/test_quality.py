from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

from benchmarks.libraries.__main__ import measure_quality
from benchmarks.libraries.settings import TRIALS
from benchmarks.libraries.tasks import Processes
from tests.benchmarks.libraries.test_tasks import small_histories

THEIRS = f"rectools-sasrec-{TRIALS[1].name}-max100-seed0"
N_USERS = 40


def ranks(greater: int) -> dict[str, list[int]]:
    return {"greater": [greater] * N_USERS, "equal": [1] * N_USERS}


def test_what_was_chosen_earlier_is_asked_beside_kept_runs_and_nothing_is_fitted_again(tmp_path: Path) -> None:
    trials = {
        "choose-sasrec-seed0": {"validation_ndcg_at_10": 0.1, "n_epochs": 4},
        "choose-sasrec-long-seed0": {"validation_ndcg_at_10": 0.2, "n_epochs": 9},
        f"choose-rectools-sasrec-{TRIALS[0].name}-max100-seed0": {"validation_ndcg_at_10": 0.1, "n_epochs": 5},
        f"choose-{THEIRS}": {"validation_ndcg_at_10": 0.3, "n_epochs": 3},
    }
    (tmp_path / "earlier.json").write_text(json.dumps({"trials": trials}))
    final = {"ranked": {"filtered": ranks(greater=99), "unfiltered": ranks(greater=99)}}
    (tmp_path / f"final-{THEIRS}-epochs3-v1.json").write_text(json.dumps(final))
    of_ours = {name: list(ranks(greater=0).values()) for name in ("filtered", "unfiltered")}
    run = {"key": {"model": "m2se"}, "run": {"ranks": of_ours}}
    (tmp_path / "m2se.json.gz").write_bytes(gzip.compress(json.dumps(run).encode()))
    arguments = argparse.Namespace(
        threads=2, seeds=1, chosen=tmp_path / "earlier.json", runs=[tmp_path / "m2se.json.gz"]
    )
    processes = Processes(tmp_path / "histories.npz", tmp_path, {}, {"rectools-sasrec": "v1"})  # no Python to fit with
    kept: dict[str, Any] = {}

    measure_quality(small_histories(), processes, TRIALS[:2], arguments, kept.update)

    assert kept["chosen"] == ["choose-sasrec-long-seed0", f"choose-{THEIRS}"]
    assert kept["accuracy"]["m2se"]["filtered"]["ndcg@10"]["mean"] == 1.0
    assert kept["accuracy"]["rectools-sasrec"]["filtered"]["ndcg@10"]["mean"] == 0.0
    assert kept["gains"]["m2se"]["ndcg@10"]["mean"] == 1.0
