from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.encoder.batches import Batch
from models.encoder.checkpoint import load_checkpoint, save_checkpoint
from models.encoder.loop import TrainingDiverged
from models.rivals.config import NextItemConfig
from models.rivals.learners import Learner
from models.rivals.nets import TextTower, WhiteningAdaptor
from tests.models.encoder_fixtures import N_ITEMS, are_equal, small_content
from tests.models.rival_fixtures import LEARNERS, SHAPE, cyclic_data, small_learner

EVERY_LEARNER = pytest.mark.parametrize("name", LEARNERS)


def trained(name: str) -> Learner:
    learner = small_learner(name, cyclic_data())
    learner.loop.run()
    return learner


def scores(learner: Learner, rows: list[list[int]], lengths: list[int]) -> torch.Tensor:
    ts_ms = 60_000 * torch.arange(len(rows[0])).expand(len(rows), -1)
    return learner.scorer()(torch.tensor(rows), ts_ms, torch.tensor(lengths))


def weights(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in learner.loop.model.state_dict().items()}


@EVERY_LEARNER
def test_the_future_never_changes_the_past(name: str) -> None:
    learner = trained(name)

    before = scores(learner, [[3, 4, 5, 6, 7]], [3])
    after = scores(learner, [[3, 4, 5, 0, 1]], [3])

    assert torch.equal(before, after)


@EVERY_LEARNER
def test_padding_never_changes_scores(name: str) -> None:
    learner = trained(name)

    alone = scores(learner, [[3, 4]], [2])
    padded = scores(learner, [[3, 4, 0, 0, 0], [5, 6, 7, 8, 9]], [2, 5])

    torch.testing.assert_close(padded[:1], alone, rtol=1e-4, atol=1e-4)


@EVERY_LEARNER
def test_permuting_the_batch_permutes_scores_and_loss_terms(name: str) -> None:
    learner = trained(name)
    loss = learner.loop.phases[-1].loss
    rows, lengths = torch.tensor([[3, 4, 9], [5, 6, 0], [7, 0, 0], [2, 2, 5]]), torch.tensor([3, 2, 1, 3])
    is_target = torch.arange(3) < lengths[:, None]
    ts_ms, order = 60_000 * torch.arange(3).expand(4, -1), [2, 0, 3, 1]

    def terms(numbers: list[int]) -> torch.Tensor:
        """What each sequence adds to the loss of them all, the earlier ones' taken off."""
        sums = [torch.tensor(0.0)]
        for n in range(1, len(numbers) + 1):
            at = numbers[:n]
            batch = Batch(rows[at], (rows[at] + 1) % N_ITEMS, is_target[at], lengths[at], ts_ms[at])
            sums.append(loss(batch, torch.Generator()).detach() * is_target[at].sum())
        return torch.stack(sums).diff()

    torch.testing.assert_close(terms(order), terms([0, 1, 2, 3])[order], rtol=1e-4, atol=1e-4)
    permuted = scores(learner, rows[order].tolist(), lengths[order].tolist())
    torch.testing.assert_close(permuted, scores(learner, rows.tolist(), lengths.tolist())[order])


@EVERY_LEARNER
def test_one_batch_overfits(name: str) -> None:
    learner = small_learner(name, cyclic_data(8, 7), epochs=150, dropout=0.0)

    reports = list(learner.loop.epochs())

    assert reports[-1].loss < 0.1
    assert scores(learner, [[1, 2, 3, 4]], [4]).argmax().item() == 5


@EVERY_LEARNER
def test_saved_and_loaded_weights_score_bit_for_bit_the_same(name: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    learner, loaded = trained(name), small_learner(name, cyclic_data())

    save_checkpoint(path, learner.loop)
    load_checkpoint(path, loaded.loop)

    assert are_equal(weights(learner), weights(loaded))
    assert torch.equal(scores(learner, [[3, 4, 5]], [3]), scores(loaded, [[3, 4, 5]], [3]))


@EVERY_LEARNER
def test_same_seed_gives_the_same_weights_bit_for_bit(name: str) -> None:
    first = trained(name)
    torch.manual_seed(99)
    torch.rand(7)

    assert are_equal(weights(first), weights(trained(name)))


@EVERY_LEARNER
def test_every_weight_receives_a_gradient(name: str) -> None:
    learner = small_learner(name, cyclic_data(), epochs=1)
    norms: dict[str, float] = {}
    for weight, parameter in learner.loop.model.named_parameters():
        parameter.register_post_accumulate_grad_hook(
            lambda one, weight=weight: norms.update({weight: norms.get(weight, 0.0) + float(one.grad.abs().sum())})
        )

    learner.loop.run()

    assert [weight for weight, _ in learner.loop.model.named_parameters() if not norms.get(weight)] == []


def test_a_loss_that_is_no_number_says_to_lower_the_learning_rate() -> None:
    learner = small_learner("sasrec", cyclic_data())
    with torch.no_grad():
        next(learner.loop.model.parameters()).fill_(float("nan"))

    with pytest.raises(TrainingDiverged, match="loss is nan in train; lower its learning rate"):
        learner.loop.run()


def test_text_alone_places_items_that_training_never_saw() -> None:
    with torch.random.fork_rng():
        tower = TextTower(small_content(), SHAPE).eval()

        assert tower(4).shape == (4, 16)
        torch.testing.assert_close(tower(N_ITEMS)[:4], tower(4))
        assert torch.equal(tower(N_ITEMS)[2], tower.missing)  # item-2 has no text


def test_whitening_agrees_with_its_equation() -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        adaptor = WhiteningAdaptor(6, SHAPE).eval()
    with torch.no_grad():
        adaptor.shift.normal_(generator=generator)
    x = torch.randn(3, 6, generator=generator)

    gates = (x @ adaptor.gate.weight.T).softmax(-1)
    expected = sum(gates[:, e, None] * ((x - adaptor.shift[e]) @ adaptor.turn[e]) for e in range(2))

    torch.testing.assert_close(adaptor(x), expected)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"train_lr=0\.0 must be above 0"):
        NextItemConfig(train_lr=0.0)
    with pytest.raises(ValueError, match="train_epochs=0 must be at least 1"):
        NextItemConfig(train_epochs=0)
    with pytest.raises(ValueError, match="batch_size=0 must be at least 1"):
        NextItemConfig(batch_size=0)


def drawn(name: str) -> list[list[list[int]]]:
    """The rows of an epoch's batches, in their order."""
    loop, batches = small_learner(name, cyclic_data(), epochs=1).loop, []
    (phase,) = loop.phases

    def noted(batch: Batch, generator: torch.Generator) -> torch.Tensor:
        batches.append(batch.rows.tolist())
        return phase.loss(batch, generator)

    loop.phases = (replace(phase, loss=noted),)
    list(loop.epochs())
    return batches


def test_batches_are_drawn_alike_for_every_model() -> None:
    gru4rec = drawn("gru4rec")

    assert len(gru4rec) > 1
    assert drawn("sasrec") == gru4rec
    assert drawn("unisrec") == gru4rec
