import json
from pathlib import Path

import pytest
import torch

from models.towers.clip import Clip
from models.towers.tower import TowerError, WeightsUnavailable
from tests.models.clip_fixture import write_tiny_clip
from tests.models.tower_fixtures import drop_weights, noisy_picture, write_tiny_bert


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return Clip.load(str(write_tiny_clip(tmp_path_factory.mktemp("clip"))))


def test_directions_have_length_one(clip: Clip) -> None:
    rows, pictures = clip.pictures([None, noisy_picture(1), b"broken", noisy_picture(2)])

    assert rows.tolist() == [1, 3]
    torch.testing.assert_close(pictures.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(clip.words(["cat", "dog"]).norm(dim=1), torch.ones(2))


def test_word_does_not_depend_on_its_batch(clip: Clip) -> None:
    many = clip.words(["cat", *("dog" * n for n in range(1, 4)), *["tree"] * 300])

    torch.testing.assert_close(many[0], clip.words(["cat"])[0])
    torch.testing.assert_close(many[-1], clip.words(["tree"])[0])


def test_nothing_gives_nothing_and_long_words_are_cut(clip: Clip) -> None:
    assert clip.words([]).shape == (0, 8)
    assert clip.pictures([])[1].shape == (0, 8)
    assert clip.words(["a" * 5_000]).isfinite().all()


def test_revision_follows_the_weights_and_not_the_name(clip: Clip, tmp_path: Path) -> None:
    same = Clip("a copy", write_tiny_clip(tmp_path / "same"))
    other = Clip("other", write_tiny_clip(tmp_path / "other", seed=1))

    assert same.revision == clip.revision
    assert other.revision != clip.revision


def test_normalisation_is_part_of_the_revision(clip: Clip, tmp_path: Path) -> None:
    folder = write_tiny_clip(tmp_path)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"image_mean": [0.5, 0.5, 0.5]}))

    assert Clip("other mean", folder).revision != clip.revision


def test_words_and_pictures_are_encoded_on_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.towers.clip.own_device", lambda: torch.device("meta"))  # has no memory to fetch from
    clip = Clip.load(str(write_tiny_clip(tmp_path)))

    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        clip.pictures([noisy_picture(1)])
    with pytest.raises(RuntimeError, match=r"item\(\) cannot be called on meta tensors"):  # by the model itself
        clip.words(["cat"])


def test_clip_not_to_be_had_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    with pytest.raises(WeightsUnavailable, match="nobody/no-such-clip is not on disk and HF_HUB_OFFLINE forbids"):
        Clip.load("nobody/no-such-clip")


def test_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(TowerError, match=r"no model in folder '.*': config.json and \*.safetensors are wanted there"):
        Clip.load(str(tmp_path))


def test_another_kind_of_model_is_named(tmp_path: Path) -> None:
    folder = write_tiny_bert(tmp_path)

    with pytest.raises(TowerError, match=r"CLIP '.*' cannot be loaded from .*model_type='bert', wants 'clip'"):
        Clip.load(str(folder))


def test_lacking_weights_are_counted(tmp_path: Path) -> None:
    folder = write_tiny_clip(tmp_path)
    drop_weights(folder, "text_projection")

    with pytest.raises(TowerError, match=r"lacks 1 weights, such as text_projection\.weight"):
        Clip.load(str(folder))


@pytest.mark.parametrize("file", ["model.safetensors", "preprocessor_config.json", "config.json"])
def test_damaged_files_are_named_with_their_folder(tmp_path: Path, file: str) -> None:
    folder = write_tiny_clip(tmp_path)
    (folder / file).write_bytes(b"broken")

    with pytest.raises(TowerError, match=f"CLIP '{folder}' cannot be loaded from {folder}: "):
        Clip.load(str(folder))


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
def test_file_of_another_shape_is_named_with_its_folder(tmp_path: Path, file: str) -> None:
    folder = write_tiny_clip(tmp_path)
    (folder / file).write_text("[]")

    with pytest.raises(TowerError, match=f"CLIP '{folder}' cannot be loaded from {folder}: AttributeError: "):
        Clip.load(str(folder))


def test_mean_of_too_many_channels_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_clip(tmp_path)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"image_mean": [0.5] * 4}))

    with pytest.raises(TowerError, match="mean must have 3 elements"):
        Clip.load(str(folder))


def test_without_a_vocabulary_no_word_is_told_from_another_so_it_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_clip(tmp_path)
    (folder / "vocab.json").unlink()
    (folder / "merges.txt").unlink()

    with pytest.raises(TowerError, match=r"its tokenizer knows no words; tokenizer\.json or vocab"):
        Clip.load(str(folder))
