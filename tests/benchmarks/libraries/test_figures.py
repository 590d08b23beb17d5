from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import training
from benchmarks.libraries import figures
from benchmarks.libraries.__main__ import m2se_speed
from models.encoder.batches import SequenceData
from models.evaluation.ranking import Questions


def epoch(number: int, validation: float, seconds: float = 2.0) -> dict[str, Any]:
    return {"epoch": number, "validation": validation, "seconds": seconds, "cpu_s": 2 * seconds, "n_targets": 100}


def final(greater: list[int]) -> dict[str, Any]:
    counts = {"greater": greater, "equal": [1] * len(greater)}
    return {"ranked": {"filtered": counts, "unfiltered": counts}}


def three_questions() -> Questions:
    """Three users of two events each, the second of which is asked."""
    events = SequenceData.from_events(
        np.repeat(np.arange(3), 2), np.arange(6), np.arange(6) * 1_000, is_target=np.tile([False, True], 3)
    )
    return Questions(events, np.zeros(20, np.int64), np.zeros(20, np.bool_))


def test_speed_leaves_the_first_epoch_out_and_takes_the_median() -> None:
    epochs = [epoch(1, 0.0, 100.0), epoch(2, 0.0, 1.0), epoch(3, 0.0, 2.0), epoch(4, 0.0, 4.0)]

    assert figures.speed(epochs) == {"targets_per_s": 50, "targets_per_cpu_s": 25, "n_targets": 100}


def test_speeds_are_compared_with_ours_as_soon_as_ours_had_its_turn() -> None:
    first = {"m2se-pretrain": [{"targets_per_s": 10}, {"targets_per_s": 30}]}
    ours = {"sasrec": [{"targets_per_s": 50}]}

    assert figures.compared(first, ours="sasrec") == {"median_targets_per_s": {"m2se-pretrain": 20}, "ours_to": {}}
    assert figures.compared(first | ours, ours="sasrec")["ours_to"] == {"m2se-pretrain": 2.5}


def test_a_phase_of_m2se_is_told_as_the_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[argparse.Namespace] = []

    def measure_apart(name: str, arguments: argparse.Namespace) -> dict[str, object]:
        asked.append(arguments)
        return {"epochs": [[100, 4.0, 8.0], [100, 2.0, 4.0]], "peak_memory_mib": 7, "torch": "2"}

    monkeypatch.setattr(training, "measure_apart", measure_apart)

    result = m2se_speed("m2se-pretrain", argparse.Namespace(data="folder", users=None))

    assert figures.speed(result["epochs"]) == {"targets_per_s": 50, "targets_per_cpu_s": 25, "n_targets": 100}
    assert (result["peak_mb"], result["torch"]) == (7, "2")
    assert (asked[0].data, asked[0].users, asked[0].threads) == ("folder", 10**9, 2)


def test_speed_of_a_single_epoch_is_refused() -> None:
    with pytest.raises(ValueError, match="1 epochs measured; at least 2 are needed"):
        figures.speed([epoch(1, 0.0)])


def test_the_earliest_best_epoch_is_chosen_with_its_seconds() -> None:
    chosen = figures.chosen([epoch(1, 0.1), epoch(2, 0.3), epoch(3, 0.3), epoch(4, 0.2)])

    assert chosen == {"validation_ndcg_at_10": 0.3, "n_epochs": 2, "seconds": 4.0, "n_epochs_run": 4}


def test_a_race_ends_where_ours_first_reaches_their_best() -> None:
    theirs = [epoch(1, 0.1, 10.0), epoch(2, 0.15, 10.0), epoch(3, 0.12, 10.0)]
    ours = [epoch(1, 0.1, 1.0), epoch(2, 0.14, 1.0), epoch(3, 0.16, 1.0), epoch(4, 0.17, 1.0)]

    assert figures.race(theirs, ours) == {
        "validation_ndcg_at_10": 0.15,
        "rectools_s": 20.0,
        "ours_s": 3.0,
        "ours_to_rectools": 0.15,
    }


def test_a_race_that_ours_never_ends_says_so() -> None:
    result = figures.race([epoch(1, 0.2)], [epoch(1, 0.1), epoch(2, 0.19)])

    assert (result["ours_s"], result["ours_to_rectools"]) == (None, None)


def test_accuracy_is_the_mean_over_questions_and_seeds() -> None:
    found = figures.accuracy(three_questions(), [final([0, 0, 99]), final([0, 99, 99])])

    assert found["n_seeds"] == 2
    assert found["filtered"]["ndcg@10"]["mean"] == pytest.approx(0.5)
    assert found["filtered"]["recall@10"]["by_seed"] == pytest.approx([2 / 3, 1 / 3])


def test_a_kept_run_is_read_as_a_final_task_tells_its_answers(tmp_path: Path) -> None:
    path = tmp_path / "run.json.gz"
    kept = {"key": {"model": "m2se"}, "run": {"ranks": {"filtered": [[0, 3], [1, 1]], "unfiltered": [[2, 5], [1, 2]]}}}
    path.write_bytes(gzip.compress(json.dumps(kept).encode()))

    assert figures.kept_run(path) == (
        "m2se",
        {
            "ranked": {
                "filtered": {"greater": [0, 3], "equal": [1, 1]},
                "unfiltered": {"greater": [2, 5], "equal": [1, 2]},
            }
        },
    )


def test_gain_pairs_the_answers_to_each_question() -> None:
    found = figures.gain(three_questions(), [final([0, 0, 0])], [final([0, 0, 99])])

    assert found["ndcg@10"]["mean"] == pytest.approx(1 / 3)
