from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from models.encoder.batches import Batch, SequenceData
from models.encoder.checkpoint import BadCheckpoint, load_checkpoint, save_checkpoint
from models.encoder.config import TrainingConfig
from models.encoder.loop import TrainingDiverged
from models.encoder.m2se import mix_complementary
from models.encoder.objectives import cmcl, msnip
from models.encoder.phases import EpochReport
from models.encoder.succession import PreviousModel
from models.encoder.training import Trainer
from tests.models.encoder_fixtures import N_ITEMS, small_content, small_model

CONFIG = TrainingConfig(pretrain_epochs=2, finetune_epochs=3, batch_size=8, seed=5)


def cyclic_data(n_users: int = 20, length: int = 13) -> SequenceData:
    """Every user walks through the items in the same order, from a place of their own."""
    users = np.repeat(np.arange(n_users), length)
    nth = np.tile(np.arange(length), n_users)
    return SequenceData.from_events(users, (users + nth) % N_ITEMS, 60_000 * nth)


def new_trainer(config: TrainingConfig = CONFIG) -> Trainer:
    return Trainer(small_model(n_ids=N_ITEMS), small_content(), cyclic_data(), config)


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def test_same_seed_gives_the_same_weights_bit_for_bit() -> None:
    first, second = new_trainer(), new_trainer()

    first.run()
    second.run()

    assert all(torch.equal(a, b) for a, b in zip(weights(first).values(), weights(second).values(), strict=True))


def test_the_rate_rises_over_its_share_of_the_steps_and_falls_to_nothing() -> None:
    trainer = new_trainer(replace(CONFIG, pretrain_epochs=4, finetune_epochs=0, pretrain_lr=1e-2, warmup_share=0.25))
    rates: list[float] = []
    trainer.optimizer.register_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))

    trainer.run()

    n = len(rates) // 4  # steps of the first of four epochs
    assert rates[0] == pytest.approx(0.0, abs=1e-4)
    assert rates[n] == max(rates) == 1e-2
    assert rates[: n + 1] == sorted(rates[: n + 1])
    assert rates[n:] == sorted(rates[n:], reverse=True)
    assert rates[-1] < 0.5e-2 / n


@pytest.mark.parametrize("n_sampled", [0, 6])
def test_fine_tuning_leaves_some_ids_out(n_sampled: int) -> None:
    config = replace(CONFIG, pretrain_epochs=0, finetune_epochs=1, weight_decay=0.0, n_sampled=n_sampled)
    before = weights(new_trainer())["ids"]

    def ids_after(id_dropout: float) -> torch.Tensor:
        trainer = new_trainer(replace(config, id_dropout=id_dropout))
        trainer.run()
        return weights(trainer)["ids"]

    assert torch.equal(ids_after(1 - 1e-9), before)  # what takes no part learns nothing
    assert not torch.equal(ids_after(0.5), before)


def test_freed_memory_is_given_back_while_an_epoch_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr("models.encoder.loop.STEPS_TO_GIVE_BACK", 2)
    monkeypatch.setattr("models.encoder.loop.give_back_freed", lambda: done.append("give back"))
    trainer = new_trainer(replace(CONFIG, pretrain_epochs=1, finetune_epochs=0))
    trainer.optimizer.register_step_pre_hook(lambda *_: done.append("step"))

    trainer.run()

    assert done[:5] == ["give back", "step", "step", "give back", "step"]


def test_training_does_not_disturb_the_random_numbers_of_its_caller() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)

    trainer = new_trainer()
    torch.manual_seed(1)
    trainer.run()

    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("epochs_before_the_kill", [1, 2, 3, 4])
def test_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path, epochs_before_the_kill: int) -> None:
    path = tmp_path / "checkpoint.safetensors"
    whole, killed, resumed = new_trainer(), new_trainer(), new_trainer()
    whole.run()
    reports: list[EpochReport] = []

    def save_then_die(report: EpochReport) -> None:
        reports.append(report)
        save_checkpoint(path, killed)
        if len(reports) == epochs_before_the_kill:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed.run(save_then_die)
    load_checkpoint(path, resumed)
    resumed.run()

    assert all(torch.equal(a, b) for a, b in zip(weights(whole).values(), weights(resumed).values(), strict=True))


def test_damaged_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(b"half a file")

    with pytest.raises(BadCheckpoint, match=r"checkpoint .*checkpoint\.safetensors cannot be used"):
        load_checkpoint(path, new_trainer())


def test_a_predictable_walk_is_learned() -> None:
    trainer = new_trainer(TrainingConfig(pretrain_epochs=2, finetune_epochs=40, batch_size=8, finetune_lr=1e-2))
    losses: list[float] = []

    trainer.run(lambda report: losses.append(report.loss))

    assert losses[-1] < 0.5
    with torch.inference_mode():
        items = trainer.model.encode_items(trainer.content)
        states = trainer.model.encode_sequences(items.at(torch.tensor([[3, 4, 5, 6]])))
        assert int((states[0, -1] @ items.directions().T).argmax()) == 7


def test_loss_that_is_no_number_stops_the_run_and_says_what_to_do() -> None:
    trainer = new_trainer()
    with torch.no_grad():
        trainer.model.sequence.positions[0, 0] = float("nan")

    with pytest.raises(TrainingDiverged, match="loss is nan in pretrain; lower its learning rate") as caught:
        trainer.run()

    assert "(batch 1 of 7 of epoch 1: 8 sequences, the first one begins with rows " in str(caught.value)


def test_the_last_checkpoint_is_good_after_the_loss_stopped_being_a_number(tmp_path: Path) -> None:
    path, trainer, again = tmp_path / "checkpoint.safetensors", new_trainer(), new_trainer()

    def save_then_poison(_: EpochReport) -> None:
        save_checkpoint(path, trainer)
        with torch.no_grad():
            trainer.model.sequence.positions[0, 0] = float("nan")

    with pytest.raises(TrainingDiverged, match="epoch 2"):
        trainer.run(save_then_poison)

    load_checkpoint(path, again)
    assert again.progress.epoch == 1
    assert all(torch.isfinite(tensor).all() for tensor in weights(again).values())


def test_gradient_that_is_no_number_stops_the_run_before_it_reaches_the_weights() -> None:
    trainer = new_trainer(TrainingConfig(pretrain_epochs=0, finetune_epochs=1, batch_size=1_000))  # a single step
    trainer.model.sequence.positions.register_hook(lambda gradient: gradient * float("inf"))

    with pytest.raises(TrainingDiverged, match=r"gradient is .* in finetune; lower its learning rate"):
        trainer.run()

    assert all(torch.isfinite(tensor).all() for tensor in weights(trainer).values())


def test_pretraining_holds_a_target_only_against_the_other_targets_of_the_batch() -> None:
    trainer = new_trainer(TrainingConfig(max_mixup=0.0, cmcl_weight=0.0))
    model = trainer.model.eval()
    rows, targets = torch.tensor([[0, 4, 5], [7, 4, 4]]), torch.tensor([[4, 5, 6], [4, 9, 9]])
    is_target = torch.tensor([[True, True, True], [True, False, False]])  # 0 and 7 are only read, 9 is not predicted
    batch = Batch(rows, targets, is_target, lengths=torch.tensor([3, 2]))

    loss = trainer.phases[0].loss(batch, torch.Generator().manual_seed(0))

    vectors = model.encode_content(trainer.content)
    states = model.encode_sequences(vectors.at(rows))[is_target]  # (4, 2D)
    expected = torch.zeros(())
    for half in (slice(0, 8), slice(8, 16)):
        scores = states[:, half] @ vectors.directions()[[4, 5, 6], half].T / 0.07
        expected = expected - scores.log_softmax(-1)[[0, 1, 2, 3], [0, 1, 2, 0]].mean()
    torch.testing.assert_close(loss, expected)


def test_pretraining_mixes_the_streams_and_adds_the_contrast_of_one_position_a_sequence() -> None:
    config = TrainingConfig(max_mixup=0.5, cmcl_weight=0.3, msnip_weight=0.7)
    trainer = new_trainer(config)
    model = trainer.model.eval()
    rows, targets = torch.tensor([[0, 4, 5], [7, 4, 0]]), torch.tensor([[4, 5, 6], [4, 9, 0]])
    lengths = torch.tensor([3, 2])
    batch = Batch(rows, targets, torch.arange(3) < lengths[:, None], lengths=lengths)

    loss = trainer.phases[0].loss(batch, torch.Generator().manual_seed(1))

    draw = torch.Generator().manual_seed(1)
    share, draws, at = (
        0.5 * torch.rand(2, 1, generator=draw),
        torch.rand(2, 3, generator=draw),
        torch.rand(2, generator=draw),
    )
    vectors = model.encode_content(trainer.content)
    has_both = trainer.content.text_mask.any(1) & trainer.content.image_mask.any(1)
    streams = mix_complementary(vectors.at(rows), share=share, has_both=has_both[rows], draws=draws)
    states = model.encode_sequences(streams)
    candidates = torch.tensor([4, 5, 6, 9])
    nearest = torch.searchsorted(candidates, targets[batch.is_target])
    plain = msnip(states[batch.is_target], vectors.directions()[candidates], nearest, temperature=0.07)
    places = (at * lengths).long()
    contrast = cmcl(states[[0, 1], places], targets[[0, 1], places], temperature=0.07)
    torch.testing.assert_close(loss, 0.7 * plain + 0.3 * contrast)
    assert float(contrast.detach()) > 0.01
    assert not torch.allclose(states, model.encode_sequences(vectors.at(rows)))


def test_a_gradient_is_clipped_before_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = new_trainer(TrainingConfig(pretrain_epochs=0, finetune_epochs=1, batch_size=1_000, clip_norm=1e-3))
    norms: list[float] = []

    def watched(optimizer: torch.optim.AdamW) -> None:
        gradients = [one.grad for one in trainer.model.parameters() if one.grad is not None]
        norms.append(float(torch.cat([gradient.flatten() for gradient in gradients]).norm()))

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    trainer.run()

    assert norms == pytest.approx([1e-3], rel=1e-2)


def test_corrected_pretraining_knows_how_likely_a_batch_holds_an_item() -> None:
    data, config = cyclic_data(5, 6), TrainingConfig(max_mixup=0.0, cmcl_weight=0.0, msnip_logq=True)
    trainer = Trainer(small_model(n_ids=N_ITEMS), small_content(), data, config)
    model = trainer.model.eval()
    rows, targets = torch.tensor([[0, 4, 5]]), torch.tensor([[4, 5, 6]])
    batch = Batch(rows, targets, torch.ones(1, 3, dtype=torch.bool), lengths=torch.tensor([3]))

    loss = trainer.phases[0].loss(batch, torch.Generator().manual_seed(0))

    shares = torch.tensor([5, 5, 4]) / 30  # of all targets, those of items 4, 5 and 6
    chances = 1 - (1 - shares) ** 3  # three targets are drawn
    vectors = model.encode_content(trainer.content)
    states = model.encode_sequences(vectors.at(rows))[0]  # (3, 2D)
    negatives = (1 - torch.eye(3)) * chances.log().float()
    expected = torch.zeros(())
    for half in (slice(0, 8), slice(8, 16)):
        scores = states[:, half] @ vectors.directions()[[4, 5, 6], half].T / 0.07 - negatives
        expected = expected - scores.log_softmax(-1).diagonal().mean()
    torch.testing.assert_close(loss, expected)


def test_corrected_pretraining_stands_items_that_come_first_only_for_want_of_an_order() -> None:
    users, nth = np.repeat(np.arange(8), 2), np.tile([0, 1], 8)
    data = SequenceData.from_events(users, (users + 8 * nth) % N_ITEMS, np.zeros(16, np.int64))  # all in one second
    config = TrainingConfig(pretrain_epochs=2, finetune_epochs=0, msnip_logq=True)

    reports = list(Trainer(small_model(n_ids=0), small_content(), data, config).epochs())

    assert [np.isfinite(report.loss) for report in reports] == [True, True]


def test_pretraining_on_equal_targets_has_nothing_to_learn() -> None:
    trainer = new_trainer(TrainingConfig(cmcl_weight=1.0))
    rows = torch.tensor([[0, 4], [7, 5]])
    batch = Batch(rows, torch.full((2, 2), 3), rows >= 0, lengths=torch.tensor([2, 2]))

    loss = trainer.phases[0].loss(batch, torch.Generator().manual_seed(0))

    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-5)


def test_sampling_many_times_the_catalogue_trains_like_the_softmax_over_all() -> None:
    full = new_trainer(TrainingConfig(pretrain_epochs=0, id_dropout=0.0))
    sampled = new_trainer(TrainingConfig(pretrain_epochs=0, id_dropout=0.0, n_sampled=2_000))
    rows = torch.tensor([[0, 4, 5], [7, 4, 4]])
    batch = Batch(rows, (rows + 1) % N_ITEMS, rows >= 0, lengths=torch.tensor([3, 3]))
    losses = []

    for trainer in (full, sampled):
        trainer.model.eval()
        losses.append(trainer.phases[1].loss(batch, torch.Generator().manual_seed(0)))
        losses[-1].backward()

    torch.testing.assert_close(losses[0], losses[1])
    ours, theirs = (trainer.model.ids.grad for trainer in (sampled, full))
    torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=2e-2)  # one of them has products in bfloat16


@pytest.mark.parametrize("n_known", [N_ITEMS, 5])
def test_a_teacher_pulls_by_a_sample_of_many_draws_as_by_the_whole_catalogue(n_known: int) -> None:
    rows = torch.tensor([[0, 4, 5], [7, 4, 4]])
    batch = Batch(rows, (rows + 1) % N_ITEMS, rows >= 0, lengths=torch.tensor([3, 3]))
    losses = {}

    for n_sampled, weight in product((0, 2_000), (0.0, 0.5)):
        config = TrainingConfig(
            pretrain_epochs=0, id_dropout=0.0, n_sampled=n_sampled, distillation_weight=weight, seed=5
        )
        teacher = PreviousModel(small_model(n_ids=n_known, seed=9), small_content())
        trainer = Trainer(small_model(n_ids=N_ITEMS), small_content(), cyclic_data(), config, teacher=teacher)
        trainer.model.eval()
        losses[n_sampled, weight] = float(trainer.phases[1].loss(batch, torch.Generator().manual_seed(0)).detach())

    pulls = [losses[n_sampled, 0.5] - losses[n_sampled, 0.0] for n_sampled in (0, 2_000)]
    assert pulls[0] > 0.01
    assert pulls[1] == pytest.approx(pulls[0], rel=1e-3)


@pytest.mark.parametrize("n_sampled", [0, 2_000])
def test_a_teacher_without_ids_does_not_pull(n_sampled: int) -> None:
    config = TrainingConfig(pretrain_epochs=0, n_sampled=n_sampled, distillation_weight=0.5)
    teacher = PreviousModel(small_model(n_ids=0), small_content())
    trainer = Trainer(small_model(n_ids=N_ITEMS), small_content(), cyclic_data(), config, teacher=teacher)

    trainer.run()

    assert all(tensor.isfinite().all() for tensor in trainer.model.state_dict().values())


def test_a_walk_is_learned_from_a_sample_too() -> None:
    config = TrainingConfig(pretrain_epochs=0, finetune_epochs=40, batch_size=8, finetune_lr=1e-2, n_sampled=6)
    trainer = new_trainer(config)

    trainer.run()

    with torch.inference_mode():
        items = trainer.model.encode_items(trainer.content)
        states = trainer.model.encode_sequences(items.at(torch.tensor([[3, 4, 5, 6]])))
        assert int((states[0, -1] @ items.directions().T).argmax()) == 7


def test_training_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"max_mixup=1\.0 must lie in \[0, 1\)"):
        TrainingConfig(max_mixup=1.0)
    with pytest.raises(ValueError, match=r"finetune_lr=0\.0 must be above 0"):
        TrainingConfig(finetune_lr=0.0)
    with pytest.raises(ValueError, match=r"clip_norm=nan must be above 0"):
        TrainingConfig(clip_norm=float("nan"))
    with pytest.raises(ValueError, match=r"distillation_weight=-1\.0 must not be negative"):
        TrainingConfig(distillation_weight=-1.0)
    with pytest.raises(ValueError, match="n_sampled=-1 must be 0 or more"):
        TrainingConfig(n_sampled=-1)
    with pytest.raises(ValueError, match="epochs must not be negative: pretrain=-1"):
        TrainingConfig(pretrain_epochs=-1)
