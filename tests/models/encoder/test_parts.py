import torch

from models.encoder.parts import ITEM_STEP, PART_STEP, PackedContent, PackedParts, filled
from tests.models.encoder_fixtures import small_content

PARTS = torch.arange(12.0).reshape(3, 2, 2)
MASK = torch.tensor([[True, False], [False, False], [True, True]])


def test_only_real_parts_are_kept_in_the_order_of_the_items() -> None:
    packed = PackedParts.of(PARTS, MASK)

    assert packed.parts.tolist() == [[0.0, 1.0], [8.0, 9.0], [10.0, 11.0]]
    assert (packed.starts.tolist(), packed.counts.tolist()) == ([0, 1, 1], [1, 0, 2])
    assert packed.is_present().tolist() == [True, False, True]


def test_selected_items_have_their_parts_in_the_order_asked_for() -> None:
    packed = PackedParts.of(PARTS, MASK).select(torch.tensor([2, 1, 0, 2]))

    assert packed.parts[:, 0].tolist() == [8.0, 10.0, 0.0, 8.0, 10.0]
    assert (packed.starts.tolist(), packed.counts.tolist()) == ([0, 2, 2, 3], [2, 0, 1, 2])


def test_many_selected_parts_come_in_few_numbers_and_the_filling_is_nobodys() -> None:
    catalogue = PackedParts.of(torch.randn(1_000, 4, 2), torch.ones(1_000, 4, dtype=torch.bool))
    plain = PackedParts(catalogue.parts[: 4 * 300], catalogue.starts[:300], catalogue.counts[:300])

    some, others = catalogue.select(torch.arange(300)), catalogue.select(torch.arange(301))

    assert len(some.parts) == len(others.parts) == 2 * PART_STEP
    scores = torch.randn(2 * PART_STEP, requires_grad=True)
    pooled = some.pooled(scores)
    torch.testing.assert_close(pooled, plain.pooled(scores[:1_200]))
    (gradient,) = torch.autograd.grad(pooled.sum(), scores)
    assert not gradient[1_200:].any()


def test_many_rows_come_in_few_numbers_but_never_more_than_the_catalogue_has() -> None:
    assert filled(torch.tensor([4, 9]), 1_000).tolist() == [4, 9] + [9] * (ITEM_STEP - 2)
    assert len(filled(torch.arange(ITEM_STEP), 1_000)) == ITEM_STEP
    assert len(filled(torch.arange(ITEM_STEP + 1), 1_000)) == 2 * ITEM_STEP
    assert filled(torch.tensor([1, 2]), 3).tolist() == [1, 2, 2]


def test_parts_are_weighted_by_the_softmax_of_their_scores() -> None:
    packed = PackedParts.of(PARTS, MASK)

    even = packed.pooled(torch.zeros(3))
    uneven = packed.pooled(torch.tensor([5.0, 0.0, 3.0]).log())  # e^0 for nothing, shares 0 and 1 of item 2

    assert even.tolist() == [[0.0, 1.0], [0.0, 0.0], [9.0, 10.0]]
    torch.testing.assert_close(uneven, torch.tensor([[0.0, 1.0], [0.0, 0.0], [10.0, 11.0]]))


def test_items_without_any_part_pool_to_zeros() -> None:
    packed = PackedParts.of(PARTS, MASK & False)

    assert packed.pooled(torch.zeros(0)).tolist() == [[0.0, 0.0]] * 3
    assert packed.select(torch.tensor([1, 0])).parts.shape == (0, 2)


def test_both_modalities_must_be_there_to_have_both() -> None:
    assert PackedContent.of(small_content(4)).has_both().tolist() == [True, False, False, True]
