"""Each loss against a slow float64 reference written from the equation."""

import math
import operator

import pytest
import torch
from torch import Tensor

from models.encoder.objectives import cmcl, distillation, msnip, next_item


def unit(*shape: int, seed: int) -> Tensor:
    """Random rows; each half has length 1, as states and item directions have."""
    raw = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    halves = raw.chunk(2, dim=-1)
    return torch.cat([half / half.norm(dim=-1, keepdim=True) for half in halves], dim=-1)


def test_msnip_equals_the_equation() -> None:
    states, items, targets = unit(4, 6, seed=0), unit(5, 6, seed=1), torch.tensor([0, 3, 3, 4])
    expected = 0.0
    for half in (slice(0, 3), slice(3, 6)):
        for m, target in enumerate(targets.tolist()):
            scores = [math.exp(float(states[m, half] @ items[u, half]) / 0.07) for u in range(5)]
            expected -= math.log(scores[target] / sum(scores)) / 4

    assert float(msnip(states, items, targets, temperature=0.07)) == pytest.approx(expected, rel=1e-12)


def test_corrected_msnip_divides_a_negative_by_the_chance_that_the_batch_holds_it() -> None:
    states, items, targets = unit(4, 6, seed=0), unit(5, 6, seed=1), torch.tensor([0, 3, 3, 4])
    chances = [0.5, 0.1, 0.9, 1.0, 0.3]
    expected = 0.0
    for half in (slice(0, 3), slice(3, 6)):
        for m, target in enumerate(targets.tolist()):
            scores = [math.exp(float(states[m, half] @ items[u, half]) / 0.07) for u in range(5)]
            negatives = sum(scores[u] / chances[u] for u in range(5) if u != target)
            expected -= math.log(scores[target] / (scores[target] + negatives)) / 4

    log_inclusion = torch.tensor(chances, dtype=torch.float64).log()
    loss = msnip(states, items, targets, temperature=0.07, log_inclusion=log_inclusion)
    assert float(loss) == pytest.approx(expected, rel=1e-12)


def test_cmcl_equals_the_equation_and_leaves_same_targets_out() -> None:
    states, targets = unit(4, 6, seed=2), torch.tensor([7, 8, 7, 9])
    text, image = states.chunk(2, dim=-1)
    expected = 0.0
    for anchors, partners in ((text, image), (image, text)):
        for i in range(4):
            positive = math.exp(float(anchors[i] @ partners[i]) / 0.07)
            others = [j for j in range(4) if targets[j] != targets[i]]
            negatives = sum(math.exp(float(anchors[i] @ side[j]) / 0.07) for side in (text, image) for j in others)
            expected -= math.log(positive / (positive + negatives)) / 8

    assert float(cmcl(states, targets, temperature=0.07)) == pytest.approx(expected, rel=1e-12)


def test_cmcl_of_equal_targets_is_zero() -> None:
    assert float(cmcl(unit(3, 6, seed=3), torch.tensor([1, 1, 1]), temperature=0.07)) == pytest.approx(0.0, abs=1e-12)


def test_next_item_equals_the_equation() -> None:
    states, items, targets = unit(3, 6, seed=4), unit(7, 6, seed=5), torch.tensor([6, 0, 2])
    expected = 0.0
    for m, target in enumerate(targets.tolist()):
        scores = [math.exp(float(states[m] @ items[n]) / 0.07) for n in range(7)]
        expected -= math.log(scores[target] / sum(scores)) / 3

    assert float(next_item(states, items, targets, temperature=0.07)) == pytest.approx(expected, rel=1e-12)


def test_permuting_the_batch_leaves_every_loss() -> None:
    states, items, targets = unit(4, 6, seed=6), unit(5, 6, seed=7), torch.tensor([0, 1, 2, 1])
    order = torch.tensor([2, 0, 3, 1])
    for loss in (msnip, next_item):
        torch.testing.assert_close(
            loss(states, items, targets, temperature=0.1), loss(states[order], items, targets[order], temperature=0.1)
        )
    torch.testing.assert_close(
        cmcl(states, targets, temperature=0.1), cmcl(states[order], targets[order], temperature=0.1)
    )


def test_losses_stay_finite_at_a_tiny_temperature() -> None:
    states, items, targets = unit(4, 6, seed=8).float(), unit(5, 6, seed=9).float(), torch.tensor([0, 1, 2, 3])

    for loss in (msnip, next_item):
        assert math.isfinite(float(loss(states, items, targets, temperature=1e-4)))
    assert math.isfinite(float(cmcl(states, targets, temperature=1e-4)))


def test_distillation_is_zero_for_the_same_model_and_positive_for_another() -> None:
    states, items = unit(4, 6, seed=10), unit(5, 6, seed=11)
    own = (states, items / 0.07)

    assert float(distillation(states, items, own, temperature=0.07)) == pytest.approx(0.0, abs=1e-12)
    assert float(distillation(states, items, (states, items.flip(0) / 0.07), temperature=0.07)) > 0.1


def test_distillation_is_the_divergence_of_the_students_chances_from_the_teachers() -> None:
    states, items = unit(4, 6, seed=10), unit(5, 6, seed=11)
    teacher = (3.0 * unit(4, 8, seed=12), unit(5, 8, seed=13))
    expected = 0.0
    for state, said in zip(states.tolist(), (teacher[0] @ teacher[1].T).tolist(), strict=True):
        own = [math.exp(sum(map(operator.mul, state, item)) / 0.07) for item in items.tolist()]
        wanted = [math.exp(score) for score in said]
        for chance, target in zip(own, wanted, strict=True):
            share = target / sum(wanted)
            expected += share * math.log(share / (chance / sum(own))) / len(states)

    assert float(distillation(states, items, teacher, temperature=0.07)) == pytest.approx(expected, rel=1e-9)


def test_distillation_by_a_sample_takes_off_how_likely_it_held_each_item() -> None:
    states, items = unit(2, 6, seed=10), unit(3, 6, seed=11)
    teacher, inclusion = (
        (3.0 * unit(2, 8, seed=12), unit(3, 8, seed=13)),
        torch.tensor([0.1, 0.9, 0.5], dtype=torch.float64),
    )
    expected = 0.0
    for state, said in zip(states.tolist(), (teacher[0] @ teacher[1].T).tolist(), strict=True):
        own = [math.exp(sum(map(operator.mul, state, item)) / 0.07) for item in items.tolist()]
        own = [one / chance for one, chance in zip(own, inclusion.tolist(), strict=True)]
        wanted = [math.exp(score) / chance for score, chance in zip(said, inclusion.tolist(), strict=True)]
        for one, target in zip(own, wanted, strict=True):
            share = target / sum(wanted)
            expected += share * math.log(share / (one / sum(own))) / len(states)

    pull = distillation(states, items, teacher, temperature=0.07, log_inclusion=inclusion.log())

    assert float(pull) == pytest.approx(expected, rel=1e-9)


def test_distillation_looks_only_at_items_the_teacher_knew() -> None:
    states, items = unit(4, 6, seed=10), unit(5, 6, seed=11)
    teacher = (states, items[:3] / 0.07)

    assert float(distillation(states, items, teacher, temperature=0.07)) == pytest.approx(0.0, abs=1e-12)
