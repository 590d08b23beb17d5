from models.slot import ModelSlot
from tests.models.encoder_fixtures import small_content
from tests.models.ranker_fixtures import small_ranker


def test_before_the_first_model_nobody_answers_and_items_go_nowhere() -> None:
    slot = ModelSlot()

    slot.add_items(small_content())
    slot.remove_items(["item-0"])

    assert (slot.current(), slot.previous, slot.n_swaps) == (None, None, 0)


def test_swap_puts_the_new_model_in_place_and_keeps_the_one_before() -> None:
    slot = ModelSlot()
    first, second, third = (small_ranker(version=version) for version in ("v1", "v2", "v3"))

    slot.swap(first)
    slot.swap(second)
    held = slot.current()
    slot.swap(third)

    assert held is second
    assert (slot.current(), slot.previous, slot.n_swaps) == (third, second, 3)


def test_items_come_and_go_in_both_models() -> None:
    slot = ModelSlot()
    first, second = small_ranker(version="v1"), small_ranker(version="v2")
    slot.swap(first)
    slot.swap(second)

    slot.add_items(small_content(4))
    slot.remove_items(["item-2"])

    assert first.item_ids == second.item_ids == ["item-0", "item-1", "item-3"]


def test_model_of_other_towers_is_given_no_vectors_that_are_not_its_own() -> None:
    slot = ModelSlot()
    first, second = small_ranker(version="v1", text_tower="text-1"), small_ranker(version="v2", text_tower="text-2")
    first.add_items(small_content(3))
    slot.swap(first)
    slot.swap(second)

    slot.add_items(small_content(5))
    slot.remove_items(["item-0"])

    assert first.item_ids == ["item-1", "item-2"]
    assert second.item_ids == ["item-1", "item-2", "item-3", "item-4"]
