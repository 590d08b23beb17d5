import pytest
import torch

from models.encoder.dropout import add_dropped, dropped


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_the_asked_share_is_zeroed_and_the_mean_stays() -> None:
    found = dropped(torch.ones(1_000, 101), 0.2, is_training=True)

    assert float((found == 0.0).float().mean()) == pytest.approx(0.2, abs=0.005)
    assert sorted(set(found.flatten().tolist())) == [0.0, pytest.approx(1.25, rel=1e-4)]


def test_every_place_is_dropped_independently_of_its_neighbours() -> None:
    gone = (dropped(torch.ones(400_000), 0.5, is_training=True) == 0.0).float()

    for distance in (1, 2, 3, 4):
        both = float((gone[:-distance] * gone[distance:]).mean())
        assert both == pytest.approx(0.25, abs=0.005)


def test_same_seed_drops_the_same() -> None:
    first = dropped(torch.ones(50), 0.5, is_training=True)
    torch.manual_seed(0)

    assert torch.equal(dropped(torch.ones(50), 0.5, is_training=True), first)


def test_nothing_is_dropped_outside_training_or_with_a_share_of_zero() -> None:
    states = torch.randn(5, 3)

    assert dropped(states, 0.9, is_training=False) is states
    assert dropped(states, 0.0, is_training=True) is states
    assert torch.equal(add_dropped(states, states, 0.9, is_training=False), 2 * states)


def test_adding_equals_dropping_and_then_adding() -> None:
    states, change = torch.randn(50, 3), torch.randn(50, 3)
    torch.manual_seed(1)
    at_once = add_dropped(states, change, 0.3, is_training=True)
    torch.manual_seed(1)

    torch.testing.assert_close(at_once, states + dropped(change, 0.3, is_training=True))


def test_gradient_flows_only_through_what_was_kept() -> None:
    states = torch.ones(1_000, requires_grad=True)
    found = dropped(states, 0.5, is_training=True)

    (gradient,) = torch.autograd.grad(found.sum(), states)

    assert torch.equal(gradient, found.detach())


def test_a_share_just_below_one_keeps_finite_numbers() -> None:
    assert torch.isfinite(dropped(torch.ones(10_000), 0.999_999_9, is_training=True)).all()
