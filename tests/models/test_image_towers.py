import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from torch.nn import functional

from models.towers.patch_tower import PatchConfig, PatchNet, PatchTower, quadrant_means
from models.towers.patch_training import MIN_PAIRS, PatchTraining, contrastive_loss, train_patch_tower
from models.towers.pictures import decode_picture
from models.towers.provided_tower import ProvidedTower
from models.towers.tower import BadVector, DamagedTower, TowerError, TowerState, WeightsUnavailable
from models.towers.vision_tower import VisionTower
from tests.models.tower_fixtures import drop_weights, noisy_picture, picture, write_tiny_bert, write_tiny_vit

SMALL = PatchConfig(size=16, patch=4, dim=8, n_layers=1, n_heads=2)


def patch_tower(seed: int = 0) -> PatchTower:
    torch.manual_seed(seed)
    return PatchTower(PatchNet(SMALL))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_picture_is_decoded_to_its_colour(kind: str) -> None:
    pixels = decode_picture(picture((200, 30, 60), size=(300, 400), kind=kind), 8)

    assert pixels is not None
    assert pixels.shape == (3, 8, 8)
    assert (pixels.float().mean((1, 2)) - torch.tensor([200.0, 30.0, 60.0])).abs().max() < 8


def test_transparent_places_are_white_and_grey_is_rgb() -> None:
    buffer, grey = io.BytesIO(), io.BytesIO()
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(buffer, "PNG")
    Image.new("L", (8, 8), 7).save(grey, "PNG")

    clear, dark = decode_picture(buffer.getvalue(), 4), decode_picture(grey.getvalue(), 4)

    assert clear is not None
    assert clear.min() == 255
    assert dark is not None
    assert dark.unique().tolist() == [7]


def test_sixteen_bits_of_grey_are_scaled_to_eight() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.array([[0, 257], [128 * 257, 65_535]], dtype=np.uint16)).save(buffer, "PNG")

    pixels = decode_picture(buffer.getvalue(), 2)

    assert pixels is not None
    assert pixels.tolist() == [[[0, 1], [128, 255]]] * 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_picture_is_turned_as_its_camera_was_held(kind: str) -> None:
    lying = Image.new("L", (32, 16))
    lying.paste(255, (0, 0, 16, 16))  # white on the left
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[ExifTags.Base.Orientation] = 6  # turned right
    lying.convert("RGB").save(buffer, kind, exif=exif)

    pixels = decode_picture(buffer.getvalue(), 8)

    assert pixels is not None
    assert pixels[:, :3].min() > 240  # white on top
    assert pixels[:, 5:].max() < 15


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"no EXIF", b"Exif\0\0MM\0*" + b"\7" * 40]
)
def test_picture_whose_exif_is_broken_stays_as_it_is(exif: bytes) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (9, 9, 9)).save(buffer, "PNG", exif=exif)

    pixels = decode_picture(buffer.getvalue(), 4)

    assert pixels is not None
    assert pixels.unique().tolist() == [9]


def test_undecodable_pictures_are_none() -> None:
    whole = picture((1, 2, 3))
    bomb = io.BytesIO()
    Image.new("1", (6_000, 6_000)).save(bomb, "PNG")

    assert decode_picture(b"", 8) is None
    assert decode_picture(b"GIF89a", 8) is None
    assert decode_picture(whole[:200], 8) is None
    assert decode_picture(bomb.getvalue(), 8) is None


def test_random_bytes_behind_real_headers_never_raise() -> None:
    random = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "WEBP", "GIF"):
        head = picture((9, 9, 9), kind=kind)[:30]
        for _ in range(20):
            decode_picture(head + random.bytes(300), 8)


def test_missing_and_undecodable_pictures_have_no_part() -> None:
    parts, mask = patch_tower().encode([picture((255, 0, 0)), None, b"no picture"])

    assert parts.shape == (3, 4, 8)
    assert mask.tolist() == [[True] * 4, [False] * 4, [False] * 4]
    torch.testing.assert_close(parts.norm(dim=-1), mask.float())


def test_quadrants_are_means_of_their_patches() -> None:
    states = torch.arange(16.0).view(1, 16, 1)  # a 4 x 4 grid, row by row

    assert quadrant_means(states).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]


def test_patch_tower_state_is_read_again_with_equal_vectors() -> None:
    tower = patch_tower()
    again = PatchTower.from_state(tower.state)

    assert again.revision == tower.revision != patch_tower(seed=1).revision
    assert torch.equal(again.encode([noisy_picture(1)])[0], tower.encode([noisy_picture(1)])[0])


def test_patch_tower_of_another_shape_is_refused() -> None:
    state = patch_tower().state
    other = TowerState(state.kind, state.revision, asdict(PatchConfig()), state.tensors)

    with pytest.raises(DamagedTower, match="image tower does not fit its settings"):
        PatchTower.from_state(other)


def test_patch_config_names_the_values_it_refuses() -> None:
    with pytest.raises(ValueError, match="size=60 must be divisible by 2 \\* patch=32"):
        PatchConfig(size=60)
    with pytest.raises(ValueError, match="dim=10 must be divisible by n_heads=4"):
        PatchConfig(dim=10)
    with pytest.raises(ValueError, match="positive"):
        PatchConfig(n_layers=0)


def test_contrastive_loss_ignores_pairs_of_the_same_text() -> None:
    scores = torch.tensor([[2.0, 9.0], [9.0, 2.0]])
    no_pair = torch.zeros(2, 2, dtype=torch.bool)

    assert contrastive_loss(scores, no_pair) == pytest.approx(7.0009, abs=1e-4)
    assert contrastive_loss(scores, ~no_pair) == pytest.approx(0.0)


def test_trained_tower_finds_the_text_of_pictures_it_never_saw() -> None:
    """Six colours, six texts: a picture's colour says which text is near."""
    colours = [(250, 20, 20), (20, 250, 20), (20, 20, 250), (240, 240, 30), (30, 240, 240), (240, 30, 240)]
    draw = torch.Generator().manual_seed(0)
    text = functional.normalize(torch.eye(6).repeat(40, 1) + 0.1 * torch.randn(240, 6, generator=draw), dim=1)
    images = [picture(colours[row % 6], size=(32, 32)) for row in range(240)]

    _, report = train_patch_tower(images, text, config=SMALL, training=PatchTraining(n_epochs=12, batch_size=32))

    assert (report.n_trained, report.n_held_out) == (216, 24)
    assert report.chance == pytest.approx(0.417, abs=1e-3)
    assert report.recall_at_10 > 0.9


def test_training_twice_gives_the_same_tower_and_leaves_the_global_seed_alone() -> None:
    images = [noisy_picture(seed) for seed in range(MIN_PAIRS)]
    text = torch.eye(MIN_PAIRS)
    training = PatchTraining(n_epochs=1, batch_size=32)
    torch.manual_seed(5)
    before = torch.get_rng_state()

    first, _ = train_patch_tower(images, text, config=SMALL, training=training)
    second, _ = train_patch_tower(images, text, config=SMALL, training=training)

    assert first.revision == second.revision
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loss_that_is_no_number_stops_the_training_and_names_its_place() -> None:
    images = [noisy_picture(seed) for seed in range(MIN_PAIRS)]
    training = PatchTraining(n_epochs=2, batch_size=32, learning_rate=1e30)

    with pytest.raises(
        TowerError, match=r"image tower is nan at epoch 1 of 2, after 32 pictures; lower learning_rate=1e\+30"
    ):
        train_patch_tower(images, torch.eye(MIN_PAIRS), config=SMALL, training=training)


@pytest.mark.parametrize("n_epochs", [1, 2, 10, 11])
def test_smallest_catalogue_that_can_be_learned_from_is_learned_from(n_epochs: int) -> None:
    images = [noisy_picture(seed) for seed in range(MIN_PAIRS)]

    _, report = train_patch_tower(
        images, torch.eye(MIN_PAIRS), config=SMALL, training=PatchTraining(n_epochs=n_epochs, batch_size=64)
    )

    assert report.n_trained == MIN_PAIRS - MIN_PAIRS // 10


def test_every_step_tells_how_many_pictures_of_all_epochs_are_learned_from() -> None:
    images = [noisy_picture(seed) for seed in range(MIN_PAIRS)]
    training, seen = PatchTraining(n_epochs=2, batch_size=32), list[tuple[int, int]]()

    train_patch_tower(
        images,
        torch.eye(MIN_PAIRS),
        config=SMALL,
        training=training,
        on_progress=lambda done, total: seen.append((done, total)),
    )

    assert seen == [(32, 116), (58, 116), (90, 116), (116, 116)]  # 6 of the 64 are held out


class Held(bytes):
    """Encoded pictures that are held at once, and the most there were."""

    now = most = 0

    def __init__(self, _: bytes) -> None:
        Held.now += 1
        Held.most = max(Held.most, Held.now)

    def __del__(self) -> None:
        Held.now -= 1


def test_encoded_pictures_are_read_and_let_go_one_by_one() -> None:
    encoded: list[bytes | None] = [*(noisy_picture(seed) for seed in range(MIN_PAIRS)), None, b"broken"]
    text = torch.eye(len(encoded))
    training = PatchTraining(n_epochs=1, batch_size=32)
    expected, _ = train_patch_tower(encoded, text, config=SMALL, training=training)

    read_one_by_one = (None if one is None else Held(one) for one in encoded)
    tower, report = train_patch_tower(read_one_by_one, text, config=SMALL, training=training)

    assert report.n_trained == MIN_PAIRS - MIN_PAIRS // 10
    assert tower.revision == expected.revision
    assert Held.most <= 2


def test_too_few_pairs_leave_the_tower_untrained() -> None:
    images = [noisy_picture(0), None, b"broken", noisy_picture(1)]

    tower, report = train_patch_tower(images, torch.ones(4, 3), config=SMALL, training=PatchTraining())

    assert report.n_trained == 0
    assert tower.encode(images)[1].any(1).tolist() == [True, False, False, True]


def test_vision_model_gives_quadrants_of_its_grid(tmp_path: Path) -> None:
    tower = VisionTower.load(str(write_tiny_vit(tmp_path)))

    parts, mask = tower.encode([noisy_picture(1), None, noisy_picture(2)])

    assert (tower.n_parts, tower.dim) == (4, 8)
    assert mask.any(1).tolist() == [True, False, True]
    torch.testing.assert_close(parts.norm(dim=-1), mask.float())
    assert not torch.allclose(parts[0], parts[2])


def test_vision_model_encodes_on_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.towers.vision_tower.own_device", lambda: torch.device("meta"))  # nothing to fetch there
    tower = VisionTower.load(str(write_tiny_vit(tmp_path)))

    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        tower.encode([noisy_picture(1)])


def test_vision_model_may_lack_a_pooler_where_its_grid_gives_the_parts(tmp_path: Path) -> None:
    whole = VisionTower.load(str(write_tiny_vit(tmp_path / "whole")))
    folder = write_tiny_vit(tmp_path / "bare")
    drop_weights(folder, "pooler.")

    first, again = VisionTower.load(str(folder)), VisionTower.load(str(folder))

    assert first.revision == again.revision
    assert torch.equal(first.encode([noisy_picture(1)])[0], whole.encode([noisy_picture(1)])[0])


def test_vision_model_that_lacks_weights_in_use_is_refused(tmp_path: Path) -> None:
    no_grid = write_tiny_vit(tmp_path / "no grid", size=8)
    drop_weights(no_grid, "pooler.")
    half = write_tiny_vit(tmp_path / "half")
    drop_weights(half, "layernorm.")

    with pytest.raises(TowerError, match=r"lacks 2 weights, such as pooler\.dense\.bias; name a model that has them"):
        VisionTower.load(str(no_grid))
    with pytest.raises(TowerError, match=r"it lacks 2 weights, such as layernorm\.bias"):
        VisionTower.load(str(half))


def test_vision_model_without_its_preprocessor_is_named(tmp_path: Path) -> None:
    folder = write_tiny_vit(tmp_path)
    (folder / "preprocessor_config.json").unlink()

    with pytest.raises(TowerError, match=r"preprocessor_config\.json"):
        VisionTower.load(str(folder))


@pytest.mark.parametrize(
    ("preprocessor", "cause"),
    [
        ([], "AttributeError: 'list' object has no attribute 'get'"),
        ({"image_mean": [0.5] * 4}, "RuntimeError: The size of tensor a"),
        ({"image_mean": 0.5}, "IndexError: too many indices"),
    ],
)
def test_vision_models_preprocessor_of_another_shape_is_named(tmp_path: Path, preprocessor: object, cause: str) -> None:
    folder = write_tiny_vit(tmp_path)
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))

    with pytest.raises(TowerError, match=f"image tower '{folder}' cannot be loaded from {folder}: {cause}"):
        VisionTower.load(str(folder))


def test_model_that_takes_no_pictures_is_refused_with_the_cause(tmp_path: Path) -> None:
    folder = write_tiny_bert(tmp_path)
    (folder / "preprocessor_config.json").write_text("{}")

    with pytest.raises(TowerError, match=f"image tower '{folder}' cannot be loaded from {folder}: "):
        VisionTower.load(str(folder))


def test_vision_model_not_to_be_had_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    with pytest.raises(WeightsUnavailable, match="nobody/no-such-vit is not on disk"):
        VisionTower.load("nobody/no-such-vit")


def vector(*values: float) -> bytes:
    return np.array(values, dtype="<f2").tobytes()


def test_provided_vectors_are_brought_to_length_one() -> None:
    parts, mask = ProvidedTower(2).encode([vector(3.0, 4.0), None, vector(0.0, 0.0)])

    torch.testing.assert_close(parts, torch.tensor([[[0.6, 0.8]], [[0.0, 0.0]], [[0.0, 0.0]]]))
    assert mask.tolist() == [[True], [False], [False]]


def test_provided_vectors_that_do_not_fit_are_refused_by_what_is_wrong() -> None:
    with pytest.raises(BadVector, match="vector of 6 bytes, wants 4: 2 little-endian float16"):
        ProvidedTower(2).encode([vector(1.0, 2.0, 3.0)])
    with pytest.raises(BadVector, match="number 2 of a vector of 2 is nan; send finite float16"):
        ProvidedTower(2).read(vector(1.0, float("nan")))
    with pytest.raises(BadVector, match="vector of 0 numbers was given"):
        ProvidedTower.like(b"")
