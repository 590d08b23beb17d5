import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.encoder.checkpoint import BadCheckpoint, load_checkpoint, save_checkpoint
from models.encoder.config import TrainingConfig
from models.encoder.m2se import M2SE
from models.encoder.phases import Progress
from models.encoder.training import Trainer
from tests.models.encoder.test_training import cyclic_data
from tests.models.encoder_fixtures import N_ITEMS, small_config, small_content, small_model

CONFIG = TrainingConfig(pretrain_epochs=1, finetune_epochs=1, batch_size=64, seed=5)
SHARPER = replace(small_config(), temperature=0.05)


def new_trainer(*, n_ids: int = N_ITEMS) -> Trainer:
    return Trainer(small_model(n_ids=n_ids), small_content(), cyclic_data(n_users=4), CONFIG)


def weights(trainer: Trainer) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in trainer.model.state_dict().values()]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.safetensors"
    trained = new_trainer()
    trained.run()
    save_checkpoint(path, trained)
    return path


def test_checkpoint_keeps_progress_weights_and_the_optimiser(checkpoint: Path) -> None:
    trained, loaded = new_trainer(), new_trainer()
    trained.run()

    load_checkpoint(checkpoint, loaded)

    assert loaded.progress == Progress("finetune", 1)
    assert same(weights(loaded), weights(trained))
    for number, state in trained.optimizer.state_dict()["state"].items():
        assert torch.equal(loaded.optimizer.state_dict()["state"][number]["exp_avg"], state["exp_avg"])


def test_finished_run_has_nothing_left_to_do(checkpoint: Path) -> None:
    loaded = new_trainer()
    load_checkpoint(checkpoint, loaded)
    before = weights(loaded)

    loaded.run()

    assert same(weights(loaded), before)


def test_a_new_checkpoint_replaces_the_old_and_leaves_nothing_beside_it(checkpoint: Path) -> None:
    save_checkpoint(checkpoint, new_trainer())
    loaded = new_trainer()
    load_checkpoint(checkpoint, loaded)

    assert loaded.progress == Progress("pretrain", 0)
    assert [path.name for path in checkpoint.parent.iterdir()] == ["checkpoint.safetensors"]


def test_checkpoint_of_another_shape_is_refused_and_changes_nothing(checkpoint: Path) -> None:
    larger = new_trainer(n_ids=N_ITEMS - 1)
    before = weights(larger)

    with pytest.raises(BadCheckpoint, match=r"cannot be used: ids is \(12, 8\) there and \(11, 8\) here"):
        load_checkpoint(checkpoint, larger)

    assert same(weights(larger), before)
    assert larger.progress == Progress("pretrain")


@pytest.mark.parametrize(
    "other",
    [
        Trainer(small_model(n_ids=N_ITEMS), small_content(), cyclic_data(n_users=5), CONFIG),
        Trainer(small_model(n_ids=N_ITEMS), small_content(seed=1), cyclic_data(n_users=4), CONFIG),
        Trainer(small_model(n_ids=N_ITEMS), small_content(), cyclic_data(n_users=4), replace(CONFIG, seed=6)),
        Trainer(M2SE(SHARPER, n_ids=N_ITEMS), small_content(), cyclic_data(n_users=4), CONFIG),
    ],
    ids=["data", "content", "settings", "model"],
)
def test_checkpoint_of_another_training_is_refused_and_changes_nothing(checkpoint: Path, other: Trainer) -> None:
    before = weights(other)

    with pytest.raises(BadCheckpoint, match="it is of a training on other data, content or settings"):
        load_checkpoint(checkpoint, other)

    assert same(weights(other), before)


def test_checkpoint_of_an_unknown_phase_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    trainer = new_trainer()
    path = tmp_path / "checkpoint.safetensors"
    tensors = {f"model.{name}": tensor for name, tensor in trainer.model.state_dict().items()}
    save_file(
        tensors,
        path,
        metadata={"origin": str(trainer.origin), "progress": json.dumps({"phase": "warm-up", "epoch": 1})},
    )

    with pytest.raises(BadCheckpoint, match="cannot be used: phase 'warm-up' is none of pretrain, finetune"):
        load_checkpoint(path, trainer)

    assert trainer.progress == Progress("pretrain")


def test_file_without_progress_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_file({"model.ids": torch.zeros(1)}, path)

    with pytest.raises(BadCheckpoint, match=r"checkpoint\.safetensors cannot be used"):
        load_checkpoint(path, new_trainer())


def test_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match=r"cannot be used: .*No such file"):
        load_checkpoint(tmp_path / "nothing", new_trainer())
