"""RecBole's SASRec, timed by steps of its own trainer: `python -m benchmarks.libraries.recbole_speed FOLDER RESULT`.

Runs in the environment of RecBole; of ours, nothing. The model sees every prefix of a history as a sample of one target
(its data augmentation), and leaves the last two events of every user out of training, as we do. A pass over ML-1M takes
it many minutes, so windows of steps are timed instead.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import os
import resource
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from recbole.config import Config  # type: ignore[import-not-found,unused-ignore]
from recbole.data import create_dataset, data_preparation  # type: ignore[import-not-found,unused-ignore]
from recbole.utils import get_model, get_trainer, init_seed  # type: ignore[import-not-found,unused-ignore]

THREADS = 2
N_WINDOWS = 5
STEPS = 10
DATASET = "histories"
SETTINGS = {  # the shape of ours; softmax over the catalogue, as its documentation recommends for SASRec
    "hidden_size": 64,
    "inner_size": 256,
    "n_layers": 2,
    "n_heads": 2,
    "MAX_ITEM_LIST_LENGTH": 50,
    "hidden_dropout_prob": 0.2,
    "attn_dropout_prob": 0.2,
    "loss_type": "CE",
    "train_neg_sample_args": None,
    "USER_ID_FIELD": "user_id",
    "ITEM_ID_FIELD": "item_id",
    "TIME_FIELD": "timestamp",
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
    "use_gpu": False,
    "show_progress": False,
    "state": "ERROR",
    "reproducibility": True,
    "seed": 0,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time RecBole's SASRec.")
    parser.add_argument("folder", type=Path, help=f"holds {DATASET}/{DATASET}.inter")
    parser.add_argument("result", type=Path)
    parser.add_argument("--batch-size", type=int, default=2_048, help="samples a step (default: the library's)")
    parser.add_argument("--steps", type=int, default=STEPS, help="of a window (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    warnings.simplefilter("ignore")
    result_path = arguments.result.resolve()
    os.chdir(arguments.folder)  # it writes logs where it runs
    windows = timed_windows(arguments.batch_size, arguments.steps)
    result = {
        "batch_size": arguments.batch_size,
        "epochs": windows,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    result_path.write_text(json.dumps(result), encoding="utf-8")


def timed_windows(batch_size: int, n_steps: int) -> list[dict[str, Any]]:
    """Targets and seconds of each window of steps, the one that warms up first."""
    paths = {"data_path": ".", "checkpoint_dir": "recbole"}
    config = Config(model="SASRec", dataset=DATASET, config_dict=SETTINGS | paths | {"train_batch_size": batch_size})
    init_seed(config["seed"], config["reproducibility"])
    logging.getLogger().setLevel(logging.ERROR)
    train, _, _ = data_preparation(config, create_dataset(config))
    model = get_model(config["model"])(config, train.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    batches = full_batches(train, batch_size)
    windows = []
    for _ in range(N_WINDOWS + 1):
        started_s, started_cpu_s = time.perf_counter(), sum(os.times()[:2])
        trainer._train_epoch(itertools.islice(batches, n_steps), 0, show_progress=False)
        seconds = time.perf_counter() - started_s
        cpu_s = sum(os.times()[:2]) - started_cpu_s
        windows.append({"n_targets": n_steps * batch_size, "seconds": seconds, "cpu_s": cpu_s})
        print(f"  {n_steps * batch_size / seconds:,.0f} targets/s", flush=True)
    return windows


def full_batches(loader: Any, batch_size: int) -> Iterator[Any]:  # noqa: ANN401 - another library's
    """Batches of its loader for ever, but for a pass's last, which is smaller."""
    while True:
        yield from (batch for batch in loader if len(batch) == batch_size)


if __name__ == "__main__":
    main()
