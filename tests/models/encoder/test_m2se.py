import pytest
import torch

from models.encoder.config import EncoderConfig
from models.encoder.m2se import AttentionPool, ItemVectors, mix_complementary
from models.encoder.parts import PackedParts
from tests.models.encoder_fixtures import small_config, small_content, small_model


def random_sequences(n_users: int = 3, length: int = 5, *, seed: int = 1) -> ItemVectors:
    generator = torch.Generator().manual_seed(seed)
    text, image = (torch.randn(n_users, length, 8, generator=generator) for _ in range(2))
    return ItemVectors(text, image)


def test_the_future_never_changes_the_past() -> None:
    model, items = small_model(), random_sequences()
    changed = ItemVectors(items.text.clone(), items.image.clone())
    changed.text[:, 3:] = items.text[:, 3:].flip(-1)
    changed.image[:, 3:] = items.image[:, 3:].flip(-1)

    before, after = model.encode_sequences(items), model.encode_sequences(changed)

    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3], after[:, 3])


def test_padding_on_the_right_changes_no_state() -> None:
    model, items = small_model(), random_sequences()
    padded = ItemVectors(*(torch.nn.functional.pad(part, (0, 0, 0, 1), value=9.0) for part in items))

    torch.testing.assert_close(model.encode_sequences(items), model.encode_sequences(padded)[:, :5])


def test_sequences_longer_than_the_window_are_refused() -> None:
    with pytest.raises(ValueError, match="sequences of 7 positions, window=6; give the newest"):
        small_model().encode_sequences(random_sequences(length=7))


def test_an_item_whose_id_is_dropped_is_placed_by_its_content_alone() -> None:
    model, content = small_model(n_ids=8), small_content()

    kept = model.encode_items(content)
    some = model.encode_items(content, id_dropout=0.5, generator=torch.Generator().manual_seed(0))

    by_content = model.encode_content(content)
    is_kept = (some.text == kept.text).all(-1)
    assert 0 < int(is_kept[:8].sum()) < 8
    for part in ("text", "image"):
        expected = torch.where(is_kept[:, None], getattr(kept, part), getattr(by_content, part))
        torch.testing.assert_close(getattr(some, part), expected)


def test_both_halves_of_a_state_have_length_one() -> None:
    states = small_model().encode_sequences(random_sequences())

    assert states.shape == (3, 5, 16)
    torch.testing.assert_close(states.unflatten(-1, (2, 8)).norm(dim=-1), torch.ones(3, 5, 2))


def test_padded_parts_do_not_change_the_pooled_vector() -> None:
    torch.manual_seed(0)
    pool = AttentionPool(4)
    parts, mask = torch.randn(2, 3, 4), torch.tensor([[True, True, True], [True, False, False]])
    wider = torch.cat([parts, torch.full((2, 7, 4), 5.0)], dim=1)
    wider_mask = torch.cat([mask, torch.zeros(2, 7, dtype=torch.bool)], dim=1)

    pooled = pool(PackedParts.of(parts, mask))

    torch.testing.assert_close(pooled, pool(PackedParts.of(wider, wider_mask)))
    torch.testing.assert_close(pooled[1], parts[1, 0])


def test_missing_modality_is_the_learned_vector_and_never_a_nan() -> None:
    model, content = small_model(), small_content()

    vectors = model.encode_content(content)

    torch.testing.assert_close(vectors.image[1], model.image.missing.detach())
    torch.testing.assert_close(vectors.text[2], model.text.missing.detach())
    assert torch.isfinite(vectors.directions()).all()


def test_gradients_reach_the_poolers() -> None:
    model, content = small_model(), small_content()

    model.encode_content(content).directions()[:, :3].sum().backward()

    assert model.text.pool.hidden.weight.grad is not None
    assert float(model.text.pool.hidden.weight.grad.abs().sum()) > 0.0


def test_an_item_beyond_the_ids_is_placed_by_its_content_alone() -> None:
    model, content = small_model(n_ids=10), small_content()

    with_ids, bare = model.encode_items(content), model.encode_content(content)

    torch.testing.assert_close(with_ids.text[10:], bare.text[10:])
    torch.testing.assert_close(with_ids.text[:10], bare.text[:10] + model.ids.detach())


def test_items_by_catalogue_row_have_the_vectors_they_have_in_the_whole_catalogue() -> None:
    model, content, rows = small_model(n_ids=10), small_content(), torch.tensor([11, 0, 9, 4])

    some = model.encode_items(content.select(rows), rows=rows)

    torch.testing.assert_close(some, model.encode_items(content).at(rows))


def test_grown_ids_keep_the_old_and_start_at_zero() -> None:
    model = small_model(n_ids=3)
    old = model.ids.detach().clone()

    model.grow_ids(5)

    torch.testing.assert_close(model.ids[:3], old)
    assert model.ids[3:].abs().sum() == 0.0
    with pytest.raises(ValueError, match="n_ids=2 is below the 5 that exist"):
        model.grow_ids(2)


def test_mixup_is_complementary_and_swaps_the_asked_share() -> None:
    items = random_sequences(n_users=400, length=50)
    share, has_both = torch.full((400, 1), 0.3), torch.ones(400, 50, dtype=torch.bool)
    draws = torch.rand(400, 50, generator=torch.Generator().manual_seed(0))

    mixed = mix_complementary(items, share=share, has_both=has_both, draws=draws)

    swapped = (mixed.text == items.image).all(-1)
    assert torch.equal(swapped, (mixed.image == items.text).all(-1))
    assert torch.equal(~swapped, (mixed.text == items.text).all(-1))
    assert float(swapped.float().mean()) == pytest.approx(0.3, abs=0.01)


def test_mixup_never_swaps_a_missing_modality_in() -> None:
    items = random_sequences(n_users=2, length=3)
    has_both = torch.tensor([[True, False, True], [False, False, True]])

    mixed = mix_complementary(items, share=torch.ones(2, 1), has_both=has_both, draws=torch.full((2, 3), 0.5))

    assert torch.equal((mixed.text == items.image).all(-1), has_both)
    assert torch.equal((mixed.text == items.text).all(-1), ~has_both)
    assert torch.equal((mixed.image == items.image).all(-1), ~has_both)


def test_impossible_sizes_are_refused_with_their_values() -> None:
    with pytest.raises(ValueError, match="dim=8 must be divisible by n_heads=3"):
        EncoderConfig(text_dim=6, image_dim=5, dim=8, n_heads=3)
    with pytest.raises(ValueError, match="unknown encoder settings \\['depth'\\]"):
        EncoderConfig.from_dict(small_config().to_dict() | {"depth": 3})
