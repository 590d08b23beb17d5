import argparse

import pytest
import torch

from benchmarks import training
from benchmarks.training_device import CountedLoss, Work, peak_tflops, prepare, step_flops
from models.encoder.config import Shape, TrainingConfig
from models.encoder.training import Trainer
from tests.models.encoder.test_training import cyclic_data
from tests.models.encoder_fixtures import N_ITEMS, small_content, small_model
from tests.models.rival_fixtures import small_learner

SMALL = Shape(dim=2, n_layers=1, n_heads=1, inner_dim=3, n_experts=2)


def small_loop() -> Trainer:
    config = TrainingConfig(pretrain_epochs=0, finetune_epochs=2, batch_size=8)
    return Trainer(small_model(n_ids=N_ITEMS), small_content(), cyclic_data(), config)


def test_without_a_device_the_part_is_skipped_aloud(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    result = training.measure_device(argparse.Namespace(only=None, peak_tflops=None))

    assert result == "skipped: torch.cuda.is_available() is false, so nothing was measured on a device"
    assert "training on a device: skipped" in capsys.readouterr().err


def test_operations_of_a_model_of_ids_are_those_of_its_products() -> None:
    linear, attention, scores = 4 * (8 * 4 + 4 * 2 * 3), 4 * (6 + 1) * 2, 2 * 4 * 5 * 2  # 4 positions look at 6 + 1

    assert step_flops(SMALL, Work((3, 1), n_targets=4, n_candidates=5)) == 3 * (linear + attention + scores)


def test_operations_of_a_model_of_content_are_two_streams_and_the_content() -> None:
    work = Work((3, 1), n_targets=4, n_candidates=5, n_items=6, n_text_parts=10)
    streams = 2 * step_flops(SMALL, Work((3, 1), n_targets=4, n_candidates=5))
    parts = (
        3 * 10 * 2 * 64 + 2 * 10 * 2 * 7 * 65
    )  # score, then hidden layer and weighted sum, which stop at the weights
    mixtures = 3 * 6 * 2 * 2 * (7 * 3 + 2) + 3 * 6 * 2 * 2 * 2

    assert step_flops(SMALL, work, widths=(7, 0)) == streams + parts + mixtures


def test_a_peak_is_the_one_asked_for_or_the_published_one_or_none() -> None:
    assert peak_tflops("NVIDIA A100-SXM4-80GB", None) == 312.0
    assert peak_tflops("NVIDIA A100-SXM4-80GB", 300.0) == 300.0
    assert peak_tflops("NVIDIA H100 PCIe", None) == 756.0
    assert peak_tflops("GeForce 256", None) is None


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_operations_are_counted_in_the_first_epoch_alone_and_the_loss_stays(precision: str) -> None:
    plain, counted_loop = small_loop(), small_loop()
    expected = [report.loss for report in plain.epochs()]
    counted: CountedLoss = prepare(counted_loop, precision=precision, is_compiled=False)

    first, second = training.paces(counted_loop, counted)

    assert (first.n_targets, second.n_targets) == (240, 240)
    after = counted.flops
    assert 0 < after < 1e9
    again: CountedLoss = prepare(small_loop(), precision=precision, is_compiled=False)
    losses = [report.loss for report in again._loop.epochs()]
    assert losses == pytest.approx(expected, rel=1e-6 if precision == "float32" else 2e-2)
    assert again.flops > 1.9 * after


def test_operations_of_a_model_of_ids_are_counted_too() -> None:
    loop = small_learner("sasrec", cyclic_data(), epochs=1).loop
    counted = prepare(loop, precision="float32", is_compiled=False)

    training.paces(loop, counted)

    assert counted.flops > 0


@pytest.fixture(autouse=True)
def same_precision_afterwards() -> object:
    yield
    torch.set_float32_matmul_precision("highest")
