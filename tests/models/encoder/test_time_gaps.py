from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models.encoder.batches import Batch, SequenceData, epoch_batches
from models.encoder.checkpoint import load_checkpoint, save_checkpoint
from models.encoder.config import EncoderConfig, TimedShape, TrainingConfig
from models.encoder.m2se import M2SE, ItemVectors
from models.encoder.succession import PreviousModel, first_model
from models.encoder.time_gaps import UNKNOWN_MS, TimeGaps, gap_buckets
from models.encoder.training import Trainer
from tests.models.encoder_fixtures import N_ITEMS, small_config, small_content, small_model

CONFIG = TrainingConfig(pretrain_epochs=1, finetune_epochs=1, batch_size=8, seed=5)
SHAPE = TimedShape(dim=8, n_layers=2, n_heads=2, inner_dim=16, window=6, n_experts=3, n_time_buckets=16)
HOUR_S = 3_600


def timed_model(*, n_ids: int = 0, seed: int = 0) -> M2SE:
    """Its buckets far enough apart to be seen."""
    model = first_model(SHAPE, small_content(), n_ids, seed).eval()
    assert model.gaps is not None
    with torch.no_grad():
        model.gaps.vectors.mul_(50)
    return model


def random_sequences(n_users: int = 3, length: int = 5) -> tuple[ItemVectors, Tensor]:
    generator = torch.Generator().manual_seed(1)
    text, image = (torch.randn(n_users, length, 8, generator=generator) for _ in range(2))
    gaps_ms = torch.randint(0, 10_000_000, (n_users, length), generator=generator)
    return ItemVectors(text, image), gaps_ms.cumsum(-1)


def walks(gap_s: int = HOUR_S) -> SequenceData:
    users, nth = np.repeat(np.arange(20), 13), np.tile(np.arange(13), 20)
    return SequenceData.from_events(users, (users + nth) % N_ITEMS, 1_000 * gap_s * nth)


def new_trainer(data: SequenceData, config: TrainingConfig = CONFIG) -> Trainer:
    return Trainer(timed_model(n_ids=N_ITEMS), small_content(), data, config)


def test_a_bucket_holds_gaps_up_to_twice_its_smallest() -> None:
    gaps_s = torch.tensor([0, 1, 2, 3, 4, 7, 8, 2**30 - 1, 2**30])

    buckets = [gap_buckets(torch.tensor([[500, 500 + 1_000 * gap]]), 40)[0, 1] for gap in gaps_s.tolist()]

    assert buckets == [1, 2, 3, 3, 4, 4, 5, 31, 32]


def test_the_last_bucket_takes_all_longer_gaps_and_the_first_position_has_its_own() -> None:
    assert gap_buckets(torch.tensor([[0, 4_000, 10**12]]), 4).tolist() == [[0, 3, 3]]


def test_the_order_inside_a_second_and_times_that_go_back_are_the_same_second() -> None:
    assert gap_buckets(torch.tensor([[5_900, 5_100, 5_000, 0]]), 8).tolist() == [[0, 1, 1, 1]]


def test_only_gaps_count_not_when_they_were() -> None:
    _, ts_ms = random_sequences()

    assert torch.equal(gap_buckets(ts_ms, 16), gap_buckets(ts_ms + 1_700_000_000_000, 16))


def test_a_longer_gap_changes_the_states_from_there_on_and_none_before() -> None:
    model, (items, ts_ms) = timed_model(), random_sequences()
    later = ts_ms.clone()
    later[:, 3:] += 1_000_000_000

    before, after = model.encode_sequences(items, ts_ms), model.encode_sequences(items, later)

    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3], after[:, 3], atol=1e-3)
    assert not torch.allclose(before[:, 4], after[:, 4], atol=1e-3)


@pytest.mark.parametrize("padded_ms", [0, 10**12])
def test_padding_on_the_right_changes_no_state(padded_ms: int) -> None:
    model, (items, ts_ms) = timed_model(), random_sequences()
    padded = ItemVectors(*(torch.nn.functional.pad(part, (0, 0, 0, 1), value=9.0) for part in items))
    times = torch.nn.functional.pad(ts_ms, (0, 1), value=padded_ms)

    states = model.encode_sequences(padded, times)[:, :5]

    torch.testing.assert_close(states, model.encode_sequences(items, ts_ms))


def test_a_sequence_does_not_depend_on_its_place_in_the_batch() -> None:
    model, (items, ts_ms) = timed_model(), random_sequences()
    order = torch.tensor([2, 0, 1])

    moved = model.encode_sequences(ItemVectors(items.text[order], items.image[order]), ts_ms[order])

    torch.testing.assert_close(moved, model.encode_sequences(items, ts_ms)[order])


def test_where_one_time_is_unknown_nothing_is_added_there_and_after_it() -> None:
    gaps = TimeGaps(8, 4, dropout=0.0)

    added = gaps(torch.tensor([[0, UNKNOWN_MS, 60_000, 61_000]]))

    assert added.abs().sum(-1).gt(0).tolist() == [[True, False, False, True]]


def test_of_unknown_times_nothing_is_added() -> None:
    items, ts_ms = random_sequences()
    plain, timed = (
        first_model(shape, small_content(), 0, 1).eval() for shape in (replace(SHAPE, n_time_buckets=None), SHAPE)
    )

    states = timed.encode_sequences(items, torch.full_like(ts_ms, UNKNOWN_MS))

    assert torch.equal(states, plain.encode_sequences(items))


def test_training_hides_the_times_of_a_share_of_the_sequences() -> None:
    gaps = TimeGaps(16, 8, dropout=0.25)
    ts_ms = torch.arange(5).repeat(4_000, 1) * 60_000

    is_hidden = (gaps(ts_ms) == 0).all(dim=-1)  # (B, L)

    assert torch.equal(is_hidden.all(dim=1), is_hidden.any(dim=1))
    assert is_hidden[:, 0].float().mean() == pytest.approx(0.25, abs=0.03)
    assert not (gaps.eval()(ts_ms) == 0).all(dim=-1).any()


def test_without_times_a_model_with_buckets_refuses_and_one_without_never_asks() -> None:
    items, ts_ms = random_sequences()

    with pytest.raises(ValueError, match="n_time_buckets=16: sequences need the times of events"):
        timed_model().encode_sequences(items)
    model = small_model()
    assert torch.equal(model.encode_sequences(items), model.encode_sequences(items, ts_ms))


def test_settings_from_before_there_were_buckets_read_as_none_and_all_else_is_drawn_alike() -> None:
    since = {"n_time_buckets", "time_dropout"}
    old = {name: value for name, value in small_config().to_dict().items() if name not in since}
    config = EncoderConfig.from_dict(old)

    without, timed = (first_model(shape, small_content(), 0, 1) for shape in (plain(), SHAPE))

    assert config == small_config()
    assert config.n_time_buckets is None
    shared = without.state_dict()
    assert set(timed.state_dict()) - set(shared) == {"gaps.vectors"}
    assert all(torch.equal(tensor, timed.state_dict()[name]) for name, tensor in shared.items())


def plain() -> TimedShape:
    return TimedShape(dim=8, n_layers=2, n_heads=2, inner_dim=16, window=6, n_experts=3)


def test_two_buckets_are_too_few() -> None:
    with pytest.raises(ValueError, match="n_time_buckets=2 must be None or at least 3"):
        TimedShape(n_time_buckets=2)


def test_batches_bring_the_time_of_each_position_in_a_share_too() -> None:
    data = SequenceData.from_events(np.array([0, 0, 0, 1, 1]), np.array([7, 8, 9, 5, 6]), 60_000 * np.arange(5))

    (batch,) = epoch_batches(data, window=9, batch_size=2, rng=np.random.default_rng(0))

    times = dict(zip(batch.rows[:, 0].tolist(), batch.ts_ms.tolist(), strict=True))  # type: ignore[union-attr]
    assert times == {7: [0, 60_000], 5: [180_000, 180_000]}
    own = batch.share(slice(1, None))
    assert own.ts_ms is not None
    assert own.ts_ms.tolist() == [times[int(own.rows[0, 0])]]


@pytest.mark.parametrize(("phase", "n_sampled"), [(0, 0), (1, 0), (1, 50)])
def test_training_reads_the_gaps(phase: int, n_sampled: int) -> None:
    config = TrainingConfig(seed=5, n_sampled=n_sampled)

    losses = [first_loss(new_trainer(walks(gap_s), config), phase) for gap_s in (60, 60, 3_000_000)]

    assert losses[0] == losses[1] != losses[2]


def first_loss(trainer: Trainer, phase: int) -> float:
    trainer.model.eval()
    batch = first_batch(trainer._data)
    return float(trainer.phases[phase].loss(batch, torch.Generator().manual_seed(0)).detach())


def first_batch(data: SequenceData) -> Batch:
    return next(iter(epoch_batches(data, window=6, batch_size=8, rng=np.random.default_rng(0))))


def test_training_moves_the_buckets_it_meets_and_a_teacher_reads_them() -> None:
    trainer = new_trainer(walks())
    assert trainer.model.gaps is not None
    before = trainer.model.gaps.vectors.detach().clone()

    trainer.run()

    moved = (trainer.model.gaps.vectors.detach() - before).abs().amax(-1) > 1e-4
    assert moved[[0, 2 + 11]].all()  # the first position, and an hour
    teacher = PreviousModel(trainer.model, small_content())
    hour, minute = (teacher.factors(first_batch(walks(gap_s)))[0] for gap_s in (HOUR_S, 60))
    assert not torch.allclose(hour, minute)


def test_a_saved_model_with_buckets_is_loaded_bit_for_bit(tmp_path: Path) -> None:
    trained, again = new_trainer(walks()), new_trainer(walks())
    trained.run()
    save_checkpoint(tmp_path / "saved.safetensors", trained)
    items, ts_ms = random_sequences()

    load_checkpoint(tmp_path / "saved.safetensors", again)

    assert EncoderConfig.from_dict(trained.model.config.to_dict()) == again.model.config
    ours, theirs = (one.model.eval().encode_sequences(items, ts_ms) for one in (trained, again))
    assert torch.equal(ours, theirs)


def test_what_comes_next_can_depend_on_the_gap_alone() -> None:
    """After an hour item 1 comes, after a second item 2: no model of the order alone can tell."""
    users, nth = np.repeat(np.arange(40), 3), np.tile(np.arange(3), 40)
    is_fast = users % 2 == 0
    rows = np.where(nth == 2, np.where(is_fast, 2, 1), 0)
    data = SequenceData.from_events(users, rows, nth * np.where(is_fast, 1_000, 3_600_000))
    config = TrainingConfig(pretrain_epochs=0, finetune_epochs=30, batch_size=40, finetune_lr=1e-2, id_dropout=0.0)
    trainer = new_trainer(data, config)

    trainer.run()

    with torch.inference_mode():
        items = trainer.model.encode_items(small_content())
        ts_ms = torch.tensor([[0, 3_600_000], [0, 1_000]])
        states = trainer.model.encode_sequences(items.at(torch.zeros(2, 2, dtype=torch.int64)), ts_ms)[:, -1]
        assert (states @ items.directions().T).argmax(-1).tolist() == [1, 2]
