"""The fused losses against torch's own, which make the whole matrix of scores."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from models.encoder import softmax
from models.encoder.softmax import CHUNK_SCORES, divergence_loss, softmax_loss


def arguments(n_states: int, n_items: int, *, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    states, items = (torch.randn(n, 8, generator=generator, dtype=dtype) for n in (n_states, n_items))
    targets = torch.randint(0, n_items, (n_states,), generator=generator)
    return states.requires_grad_(), items.requires_grad_(), targets


def gradients(loss: Tensor, *of: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, of)


def test_loss_and_gradients_equal_the_plain_ones_whatever_the_number_of_chunks() -> None:
    states, items, targets = arguments(5_000, 1_000, dtype=torch.float64)
    assert 2 * CHUNK_SCORES < 5_000 * 1_000

    fused, plain = softmax_loss(states, items, targets), functional.cross_entropy(states @ items.T, targets)

    torch.testing.assert_close(fused, plain)
    for ours, theirs in zip(gradients(fused, states, items), gradients(plain, states, items), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_items_of_a_sample_count_as_negatives_by_how_likely_they_were_to_be_in_it() -> None:
    states, items, targets = arguments(5_000, 1_000, dtype=torch.float64)
    log_inclusion = torch.linspace(-4, 0, 1_000, dtype=torch.float64)

    fused = softmax_loss(states, items, targets, log_inclusion=log_inclusion)

    others = torch.ones(5_000, 1_000, dtype=torch.float64).scatter(1, targets[:, None], value=0)
    plain = functional.cross_entropy(states @ items.T - others * log_inclusion, targets)
    torch.testing.assert_close(fused, plain)
    for ours, theirs in zip(gradients(fused, states, items), gradients(plain, states, items), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("is_sample", [False, True])
def test_divergence_and_its_gradients_equal_the_plain_ones(is_sample: bool) -> None:
    states, items, _ = arguments(5_000, 1_000, dtype=torch.float64)
    teacher = (states.detach()[:, :5].flip(0), items.detach()[:, :5])
    log_inclusion = torch.linspace(-4, 0, 1_000, dtype=torch.float64) if is_sample else None

    fused = divergence_loss(states, items, teacher, log_inclusion=log_inclusion)

    taken_off = 0.0 if log_inclusion is None else log_inclusion
    own, wanted = ((one @ other.T - taken_off).log_softmax(-1) for one, other in ((states, items), teacher))
    plain = functional.kl_div(own, wanted, log_target=True, reduction="batchmean")
    torch.testing.assert_close(fused, plain)
    for ours, theirs in zip(gradients(fused, states, items), gradients(plain, states, items), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    "loss",
    [
        softmax_loss,
        lambda states, items, _: divergence_loss(states, items, (states.detach(), items.detach())),
    ],
)
def test_the_whole_matrix_of_scores_never_exists(loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    with Sizes() as sizes:
        loss(*arguments(5_000, 1_000, dtype=torch.float32)).backward()

    assert sizes.largest <= CHUNK_SCORES


class Sizes(TorchDispatchMode):
    """Notes how many numbers the largest tensor holds that any operation gives."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        sizes = [one.numel() for one in tree_flatten(result)[0] if isinstance(one, Tensor)]
        self.largest = max(self.largest, *sizes, 0)
        return result


def test_gradients_of_single_precision_are_right_to_three_digits() -> None:
    states, items, targets = arguments(300, 50, dtype=torch.float32)

    fused, plain = softmax_loss(states, items, targets), functional.cross_entropy(states @ items.T, targets)

    torch.testing.assert_close(fused, plain)
    for ours, theirs in zip(gradients(fused, states, items), gradients(plain, states, items), strict=True):
        assert float((ours - theirs).norm() / theirs.norm()) < 5e-3


def test_narrow_products_come_in_few_shapes_and_their_filling_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax, "gradient_dtype", lambda _: torch.bfloat16)
    shapes = set()

    for n_states, n_items in ((700, 1_900), (650, 1_850)):
        states, items, targets = arguments(n_states, n_items, dtype=torch.float32)
        with Products() as products:
            fused = softmax_loss(states, items, targets)
        shapes |= products.shapes
        plain = functional.cross_entropy(states @ items.T, targets)
        for ours, theirs in zip(gradients(fused, states, items), gradients(plain, states, items), strict=True):
            assert float((ours - theirs).norm() / theirs.norm()) < 5e-3

    assert shapes == {((768, 1_920), (1_920, 8)), ((1_920, 768), (768, 8))}


class Products(TorchDispatchMode):
    """Notes the shapes of products in bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: set[tuple[tuple[int, ...], tuple[int, ...]]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.mm.default and args[0].dtype == torch.bfloat16:
            self.shapes.add((tuple(args[0].shape), tuple(args[1].shape)))
        return func(*args, **(kwargs or {}))


def test_a_scaled_loss_scales_its_gradient() -> None:
    states, items, targets = arguments(4, 3, dtype=torch.float64)

    (once,) = gradients(softmax_loss(states, items, targets), states)
    (thrice,) = gradients(3 * softmax_loss(states, items, targets), states)

    torch.testing.assert_close(thrice, 3 * once)


def test_huge_scores_give_a_finite_loss() -> None:
    states, items = torch.tensor([[1e4], [-1e4]]), torch.tensor([[1.0], [-1.0]])

    assert float(softmax_loss(states, items, torch.tensor([0, 1]))) == 0.0
    assert float(softmax_loss(states, items, torch.tensor([1, 0]))) == 2e4


def test_a_catalogue_of_one_item_has_nothing_to_learn() -> None:
    states, items, targets = arguments(3, 1, dtype=torch.float32)

    loss = softmax_loss(states, items, targets)

    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-6)
    assert all(float(one.abs().max()) < 1e-6 for one in gradients(loss, states, items))
