"""How many next-item targets our models are trained on in a second, each in a process of its own.

Command:   python -m benchmarks.training --data PATH --json FILE [--only NAME] [--users N] [--epochs N]
           [--device auto|cpu|cuda] [--peak-tflops N]
Data:      a data set as `freshet evaluate` reads it. Its histories, catalogue and the number of sentences of each item
           are real; the part vectors are drawn, as wide as the default towers make them: their values cost nothing.
Hardware:  2 CPU cores, 2 threads; about 3 minutes.
Expected:  MovieLens-1M (ratings of 4 and 5), width 64, 2 layers, window 50, targets per second by wall clock:
           M2SE pretraining at least 18,000, fine-tuning at least 12,000, SASRec at least 30,000.

A process measures one training and prints one line of JSON; the first epoch warms up, the median of the others
counts. Time inside an epoch holds everything: cutting windows, batches, loss, gradients, the optimiser. Where other
work shares the cores, compare targets per CPU second with one thread.

Where there is a CUDA device the same is measured there, too, in bfloat16 and float32, compiled and not
(`training_device.py`), or there alone with `--device cuda`; without a device that part is skipped, and says so.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import keep, machine
from benchmarks.training_device import PRECISIONS, SKIPPED, VARIANTS, CountedLoss, prepare, shares
from freshet.evaluation.data import EvaluationData, read_data
from models.content.table import ContentTable
from models.encoder.batches import SequenceData
from models.encoder.config import Shape, TrainingConfig
from models.encoder.loop import TrainingLoop
from models.encoder.succession import first_model
from models.encoder.training import Trainer
from models.rivals.config import NextItemConfig
from models.rivals.learners import NextItemLearner
from stream.kinds import DEFAULT_KINDS
from stream.replay.dataset import open_dataset

NAMES = ("m2se-pretrain", "m2se-finetune", "sasrec")
THREADS = 2
TIMEOUT_S = 1_800.0  # of one process
TEXT_WIDTH, IMAGE_WIDTH, IMAGE_PARTS = 384, 96, 4  # of the default towers
KIB_PER_MIB = 1024


@dataclass(frozen=True)
class Pace:
    """What one epoch took.

    Attributes:
        n_targets: predicted in it.
        wall_s: by the clock.
        cpu_s: of all threads.
    """

    n_targets: int
    wall_s: float
    cpu_s: float


def training(
    name: str, data: EvaluationData, *, n_users: int, n_epochs: int, device: str | torch.device = "cpu"
) -> TrainingLoop:
    """One of `NAMES`, ready to run that many epochs over the first users on a device."""
    histories = first_users(data.events, n_users)
    if name == "sasrec":
        rival = NextItemConfig(train_epochs=n_epochs)
        loop = NextItemLearner(histories, rival, n_owners=len(data.items)).loop
        loop.device = torch.device(device)
        return loop
    table = drawn_content(data)
    if name == "m2se-pretrain":
        config, n_ids = TrainingConfig(pretrain_epochs=n_epochs, finetune_epochs=0), 0
    else:
        config, n_ids = TrainingConfig(pretrain_epochs=0, finetune_epochs=n_epochs), len(table)
    trainer = Trainer(first_model(Shape(), table, n_ids, seed=0), table, histories, config)
    trainer.device = torch.device(device)
    return trainer


def first_users(events: SequenceData, n_users: int) -> SequenceData:
    """The histories of the first users."""
    starts = events.starts[: n_users + 1]
    end = int(starts[-1])
    return SequenceData(events.rows[:end], events.ts_ms[:end], starts, events.is_target[:end])


def drawn_content(data: EvaluationData) -> ContentTable:
    """The catalogue with drawn part vectors: as many text parts as an item has sentences, pictures in quadrants."""
    generator = torch.Generator().manual_seed(0)
    n_parts = torch.tensor([len(item.sentences) for item in data.items])
    text_mask = torch.arange(int(n_parts.max())) < n_parts[:, None]
    image_mask = torch.from_numpy(data.has_image)[:, None].repeat(1, IMAGE_PARTS)
    text = torch.randn(*text_mask.shape, TEXT_WIDTH, generator=generator) * text_mask[..., None]
    image = torch.randn(*image_mask.shape, IMAGE_WIDTH, generator=generator) * image_mask[..., None]
    return ContentTable(tuple(item.item_id for item in data.items), text, text_mask, image, image_mask)


def paces(loop: TrainingLoop, counted: CountedLoss | None = None) -> list[Pace]:
    """Run all epochs, each timed; operations are counted in the first alone."""
    found: list[Pace] = []
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    for report in loop.epochs():
        now_s, now_cpu_s = time.perf_counter(), time.process_time()
        found.append(Pace(report.n_targets, now_s - wall_s, now_cpu_s - cpu_s))
        wall_s, cpu_s = now_s, now_cpu_s
        if counted is not None:
            counted.is_counting = False
    return found


def summary(found: list[Pace]) -> dict[str, Any]:
    """Medians over all epochs but the first, and the memory of this process."""
    counted = found[1:]
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "targets_per_s": round(statistics.median(pace.n_targets / pace.wall_s for pace in counted)),
        "targets_per_cpu_s": round(statistics.median(pace.n_targets / pace.cpu_s for pace in counted)),
        "first_epoch_s": round(found[0].wall_s, 2),
        "epochs": [[pace.n_targets, round(pace.wall_s, 3), round(pace.cpu_s, 3)] for pace in found],
        "peak_memory_mib": round(peak_kib / KIB_PER_MIB),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def measure(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train here and now."""
    torch.set_num_threads(arguments.threads)
    data = read_data(open_dataset(arguments.data), kinds=DEFAULT_KINDS)
    device = "cuda" if arguments.device == "cuda" else "cpu"
    loop = training(name, data, n_users=arguments.users, n_epochs=arguments.epochs, device=device)
    if device == "cpu":
        return summary(paces(loop))
    counted = prepare(loop, precision=arguments.precision, is_compiled=arguments.compiled)
    return shares(summary(paces(loop, counted)), counted, asked_tflops=arguments.peak_tflops)


def measure_apart(name: str, arguments: argparse.Namespace, *more: str) -> dict[str, Any]:
    """The same in a fresh process, which gets some arguments more.

    Raises:
        CalledProcessError: it failed; its messages stand on stderr.
    """
    command = [sys.executable, "-m", "benchmarks.training", "--data", str(arguments.data), "--measure", name]
    command += ["--users", str(arguments.users), "--epochs", str(arguments.epochs)]
    command += ["--threads", str(arguments.threads), *more]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=TIMEOUT_S)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure_device(arguments: argparse.Namespace) -> dict[str, Any] | str:
    """Every model in every variant on the device; why not, where there is none."""
    if not torch.cuda.is_available():
        print(f"training on a device: {SKIPPED}", file=sys.stderr)
        return SKIPPED
    result: dict[str, Any] = {}
    peak = [] if arguments.peak_tflops is None else ["--peak-tflops", str(arguments.peak_tflops)]
    for name in arguments.only or NAMES:
        for precision, is_compiled in VARIANTS:
            variant = f"{name}, {precision}, {'compiled' if is_compiled else 'not compiled'}"
            more = ["--device", "cuda", "--precision", precision, *(["--compiled"] if is_compiled else []), *peak]
            result[variant] = found = measure_apart(name, arguments, *more)
            print(
                f"{variant:42} {found['targets_per_s']:10,} targets/s, {found['peak_device_memory_mib']:,} MiB, "
                f"share of peak {found['share_of_peak']}",
                file=sys.stderr,
            )
    return result


def main() -> None:
    """Measure one after the other, print, keep the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", type=Path, default=None, help="write the result here")
    parser.add_argument("--only", choices=NAMES, action="append", default=None, help="may be given several times")
    parser.add_argument("--users", type=int, default=1_500, help="whose histories are an epoch")
    parser.add_argument("--epochs", type=int, default=6, help="the first one warms up")
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--measure", choices=NAMES, default=None, help="in this process, JSON on stdout")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: both where there is one"
    )
    parser.add_argument("--peak-tflops", type=float, default=None, help="of the device in dense bfloat16, if not known")
    parser.add_argument("--precision", choices=PRECISIONS, default=PRECISIONS[0], help="with --measure on a device")
    parser.add_argument("--compiled", action="store_true", help="with --measure on a device")
    arguments = parser.parse_args()
    if arguments.epochs < 2:
        parser.error(f"--epochs {arguments.epochs} leaves none to count; give at least 2")
    if arguments.measure is not None:
        print(json.dumps(measure(arguments.measure, arguments)))
        return
    result: dict[str, Any] = {"machine": machine(), "users": arguments.users}
    for name in (arguments.only or NAMES) if arguments.device != "cuda" else ():
        result[name] = measure_apart(name, arguments)
        print(f"{name:14} {result[name]['targets_per_s']:8,} targets/s", file=sys.stderr)
    if arguments.device != "cpu":
        result["on_device"] = measure_device(arguments)
    if arguments.json is None:
        print(json.dumps(result, indent=2))
    else:
        keep(result, arguments.json)


if __name__ == "__main__":
    main()
