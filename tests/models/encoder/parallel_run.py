"""One process of a training on several: `python -m tests.models.encoder.parallel_run FOLDER FAULT`, by torchrun's
environment. It leaves its weights and losses in the folder; the fault, if any, befalls process 1 after an epoch, or
process 0 in what it does ahead of the others. Where validation is to stop it, process 1 would say another score.
"""

import json
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from models.encoder.batches import SequenceData
from models.encoder.config import TrainingConfig
from models.encoder.m2se import M2SE
from models.encoder.parallel import joined
from models.encoder.stopping import Stopping
from models.encoder.training import Trainer
from tests.models.encoder_fixtures import N_ITEMS, small_config, small_content

PATIENCE_S = 20.0  # also for the other's start, on a busy machine
CONFIG = TrainingConfig(pretrain_epochs=2, finetune_epochs=2, batch_size=8, cmcl_weight=0.5, seed=5)
SCORES = (0.5, 0.75, 0.5, 0.5, 0.5)  # of the epochs of fine-tuning


def new_trainer(*, dropout: float = 0.0, n_users: int = 25, finetune_epochs: int = 2) -> Trainer:
    """Users' walks of unlike length, one sequence left over in an epoch, so that shares differ in targets."""
    rng = np.random.default_rng(3)
    users = np.repeat(np.arange(n_users), rng.integers(2, 7, n_users))
    data = SequenceData.from_events(users, rng.integers(0, N_ITEMS, len(users)), 60_000 * np.arange(len(users)))
    torch.manual_seed(0)
    model = M2SE(replace(small_config(), dropout=dropout), n_ids=N_ITEMS)
    return Trainer(model, small_content(), data, replace(CONFIG, finetune_epochs=finetune_epochs))


def main(folder: Path, fault: str) -> None:
    """Train to the end, or to the fault."""
    torch.set_num_threads(1)
    with joined(PATIENCE_S) as processes:
        rank = processes.rank
        with processes.first():
            if fault == "first takes long" and rank == 0:
                threading.Event().wait(1.2 * PATIENCE_S)
            if fault == "first dies" and rank == 0:
                os._exit(9)
        if fault == "first takes long":
            return
        trainer = new_trainer(dropout=0.2 if fault == "dropout" else 0.0)
        if fault == "stopping":
            trainer = new_trainer(finetune_epochs=5)
            trainer.stopping = Stopping(lambda: SCORES[trainer.progress.epoch - 1] + rank, patience=2)
        if fault == "other weights" and rank == 1:
            torch.nn.init.zeros_(trainer.model.sequence.positions)
        trainer.join(processes)
        losses = []
        for report in trainer.epochs():
            losses.append([report.loss, report.n_targets, report.validation or 0.0])
            if fault == "dies" and rank == 1:
                os._exit(9)
            if fault == "hangs" and rank == 1:
                threading.Event().wait()
            if fault == "no number" and rank == 1:
                trainer.model.sequence.positions.register_hook(lambda gradient: gradient * float("nan"))
    save_file(trainer.model.state_dict(), folder / f"{rank}.safetensors")
    (folder / f"{rank}.json").write_text(json.dumps(losses))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
