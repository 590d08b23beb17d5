from pathlib import Path

import pytest
import torch

from models.encoder.batches import Batch
from models.encoder.m2se import M2SE
from models.encoder.succession import Shape, first_model, next_model
from models.registry.bundle import WEIGHTS, DamagedBundle
from tests.models.encoder_fixtures import small_content, small_model
from tests.models.ranker_fixtures import publish, registry_in

SHAPE = Shape(dim=8, n_layers=1, n_heads=2, inner_dim=16, window=6, n_experts=3)


def weights(model: M2SE) -> list[torch.Tensor]:
    return list(model.state_dict().values())


def test_first_model_has_the_widths_of_the_content_and_an_empty_id_for_each_item() -> None:
    model = first_model(SHAPE, small_content(), 5, seed=1)

    assert (model.config.text_dim, model.config.image_dim, model.config.dim) == (6, 5, 8)
    assert model.ids.shape == (5, 8)


def test_first_model_is_drawn_by_its_seed_alone_and_disturbs_nobody() -> None:
    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)

    one, same, other = (first_model(SHAPE, small_content(), 5, seed=seed) for seed in (1, 1, 2))

    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(same), strict=True))
    assert not torch.equal(one.sequence.positions, other.sequence.positions)


def test_next_model_starts_as_its_parent_with_room_for_new_ids(tmp_path: Path) -> None:
    registry = registry_in(tmp_path)
    parent = small_model(n_ids=4)
    version = publish(registry, parent, ("a", "b", "c", "d"))

    model, _ = next_model(registry.open(version), small_content(), 6)

    assert torch.equal(model.ids[:4], parent.ids)
    assert torch.equal(model.ids[4:], torch.zeros(2, 8))
    assert torch.equal(model.sequence.positions, parent.sequence.positions)


def test_teacher_scores_what_the_parent_knew_and_does_not_learn_along(tmp_path: Path) -> None:
    registry = registry_in(tmp_path)
    parent = small_model(n_ids=4)
    version = publish(registry, parent, ("item-0", "item-1", "item-2", "item-3"))
    batch = Batch(
        rows=torch.tensor([[0, 7, 0]]),
        targets=torch.tensor([[7, 2, 0]]),
        is_target=torch.tensor([[True, True, False]]),
        lengths=torch.tensor([2]),
    )
    model, teacher = next_model(registry.open(version), small_content(), 6)
    with torch.no_grad():
        model.sequence.positions.fill_(9.0)

    states, known = teacher.factors(batch)
    scores = states @ known.T

    with torch.inference_mode():
        items = parent.encode_items(small_content())
        expected = parent.encode_sequences(items.at(batch.rows))[0, :2] @ items.directions()[:4].T / 0.07
    torch.testing.assert_close(scores, expected)


def test_parent_that_cannot_be_read_is_a_damaged_bundle(tmp_path: Path) -> None:
    registry = registry_in(tmp_path)
    version = publish(registry, small_model(n_ids=1), ("a",))
    bundle = registry.open(version)
    (bundle.path / WEIGHTS).write_bytes(b"half a file")

    with pytest.raises(DamagedBundle, match=f"{version} is damaged"):
        next_model(bundle, small_content(), 2)
