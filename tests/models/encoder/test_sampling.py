"""The sampled softmax against the full one."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.encoder.sampling import MAX_ITEMS, N_DRAWS, ItemSample, ItemSampler
from models.encoder.softmax import softmax_loss

COUNTS = torch.tensor([9, 0, 4, 1, 2])


def sampled(states: Tensor, items: Tensor, targets: Tensor, sample: ItemSample) -> Tensor:
    candidates, places = sample.beside(targets)
    return softmax_loss(states, items[candidates.rows], places, log_inclusion=candidates.log_inclusion.to(states.dtype))


def arguments(n_states: int, n_items: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    states, items = (torch.randn(n, 6, generator=generator, dtype=torch.float64) for n in (n_states, n_items))
    return states, items.requires_grad_(), torch.randint(0, n_items, (n_states,), generator=generator)


def test_an_item_is_drawn_as_often_as_its_inclusion_probability_says() -> None:
    sampler, generator = ItemSampler(COUNTS, 3), torch.Generator().manual_seed(0)
    times = torch.zeros(5)
    inclusion = torch.zeros(5)

    for _ in range(4_000):
        sample = sampler.draw(generator)
        times[sample.rows] += 1
        inclusion[sample.rows] = sample.log_inclusion.exp()

    # shares are 10, 1, 5, 2 and 3 of 21
    expected = [1 - (1 - share / 21) ** 3 for share in (10, 1, 5, 2, 3)]
    assert inclusion.tolist() == pytest.approx(expected, rel=1e-5)
    assert (times / 4_000).tolist() == pytest.approx(expected, abs=0.03)


def test_the_denominator_is_the_full_one_in_expectation() -> None:
    states, items, _ = arguments(1, 5)
    target = torch.tensor([2])
    sampler, generator = ItemSampler(COUNTS, 3), torch.Generator().manual_seed(0)
    score = float((states @ items[2]).detach())

    totals = [
        float((sampled(states, items, target, sampler.draw(generator)).detach() + score).exp()) for _ in range(6_000)
    ]

    full = float((states @ items.T).detach().exp().sum())
    assert sum(totals) / len(totals) == pytest.approx(full, rel=0.03)


def test_a_sample_of_everything_gives_the_full_softmax() -> None:
    states, items, targets = arguments(4, 5)

    loss = sampled(states, items, targets, ItemSample(torch.arange(5), torch.zeros(5)))

    torch.testing.assert_close(loss, functional.cross_entropy(states @ items.T, targets))


@pytest.mark.parametrize(("n_draws", "least"), [(100, 0.97), (1_000, 0.995)])  # a ratio of estimates is biased
def test_the_mean_gradient_points_where_the_full_one_does(n_draws: int, least: float) -> None:
    states, items, targets = arguments(64, 200)
    sampler, generator = ItemSampler(torch.bincount(targets, minlength=200), n_draws), torch.Generator().manual_seed(0)
    (full,) = torch.autograd.grad(functional.cross_entropy(states @ items.T, targets), items)
    losses = torch.stack([sampled(states, items, targets, sampler.draw(generator)) for _ in range(200)])

    (mean,) = torch.autograd.grad(losses.mean(), items)

    assert float(functional.cosine_similarity(mean.flatten(), full.flatten(), dim=0)) > least
    assert float(mean.norm() / full.norm()) == pytest.approx(1.0, abs=0.1)


def test_a_target_that_was_not_drawn_is_a_negative_of_nobody() -> None:
    states, items, targets = arguments(3, 5)
    targets = torch.tensor([0, 4, 4])
    sample = ItemSample(torch.tensor([1, 4]), torch.tensor([-0.5, -0.1]))

    loss = sampled(states, items, targets, sample)

    corrected = states @ items.T - torch.tensor([0.0, -0.5, 0.0, 0.0, -0.1])
    right = (states * items[targets]).sum(-1)
    negatives = [corrected[0, [1, 4]], corrected[1, [1]], corrected[2, [1]]]
    totals = torch.stack([torch.cat([right[row, None], those]).logsumexp(0) for row, those in enumerate(negatives)])
    torch.testing.assert_close(loss, (totals - right).mean())


def test_only_a_catalogue_too_large_for_all_of_it_is_sampled_unasked() -> None:
    assert ItemSampler.where_needed(torch.ones(MAX_ITEMS), 0) is None

    unasked = ItemSampler.where_needed(torch.ones(MAX_ITEMS + 1), 0)
    asked = ItemSampler.where_needed(torch.ones(9), 4)

    assert unasked is not None
    assert asked is not None
    n_drawn = [len(one.draw(torch.Generator().manual_seed(0)).rows) for one in (unasked, asked)]
    assert 0.8 * N_DRAWS < n_drawn[0] <= N_DRAWS
    assert 1 <= n_drawn[1] <= 4


def test_a_catalogue_of_one_item_leaves_nothing_to_learn() -> None:
    states, items, targets = arguments(3, 1)

    sample = ItemSampler(torch.tensor([3]), 2).draw(torch.Generator().manual_seed(0))

    assert sample.rows.tolist() == [0]
    assert float(sampled(states, items, targets, sample).detach()) == 0.0
