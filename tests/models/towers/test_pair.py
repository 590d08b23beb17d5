import shutil
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

from models.content.encode import encode_items
from models.content.features import FeatureStore
from models.content.table import ItemContent
from models.towers.building import TowerConfig, build_towers
from models.towers.hub import MINILM
from models.towers.keyword_tower import KeywordTower
from models.towers.pair import Towers, load_towers, save_towers
from models.towers.patch_tower import PatchConfig, PatchTower
from models.towers.patch_training import PatchTraining
from models.towers.provided_tower import ProvidedTower
from models.towers.text_tower import TransformerTextTower
from models.towers.tfidf_tower import TfidfTextTower
from models.towers.tower import BadVector, DamagedTower, TowerError, read_state, write_state
from models.towers.vision_tower import VisionTower
from tests.models.clip_fixture import write_tiny_clip
from tests.models.tower_fixtures import noisy_picture, write_tiny_bert, write_tiny_vit

CONFIG = TowerConfig(
    text="tfidf",
    patch=PatchConfig(size=16, patch=4, dim=8, n_layers=1, n_heads=2),
    training=PatchTraining(n_epochs=1),
)
ITEMS = [ItemContent(str(n), (f"red shoe {n}", "blue shirt"), f"{n}.png") for n in range(80)]


def read_image(ref: str) -> bytes:
    return noisy_picture(int(ref.removesuffix(".png")))


def built(tmp_path: Path, items: list[ItemContent] = ITEMS, config: TowerConfig = CONFIG) -> Towers:
    towers, _ = build_towers(items, config, read_image=read_image, store=FeatureStore(tmp_path / "store"))
    return towers


def test_default_towers_are_trained_and_say_what_came_of_it(tmp_path: Path) -> None:
    towers, notes = build_towers(ITEMS, CONFIG, read_image=read_image, store=FeatureStore(tmp_path))

    assert isinstance(towers.text, TfidfTextTower)
    assert isinstance(towers.image, PatchTower)
    assert len(notes) == 1
    assert notes[0].startswith("image tower: trained on 72 pictures in ")
    assert "of 8 held out" in notes[0]


def test_training_a_tower_tells_first_what_it_encodes_and_then_what_it_has_learned_from(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    build_towers(
        ITEMS,
        CONFIG,
        read_image=read_image,
        store=FeatureStore(tmp_path),
        on_progress=lambda done, total: seen.append((done, total)),
    )

    assert seen == [(80, 80), (64, 72), (72, 72)]


def test_catalogue_without_pictures_or_text_still_gets_towers(tmp_path: Path) -> None:
    towers, notes = build_towers([], CONFIG, read_image=read_image, store=FeatureStore(tmp_path))

    assert towers.image.dim == 8
    assert notes == ("image tower: fewer than 64 pictured items with text, so it keeps its random weights",)


def test_weights_not_to_be_had_are_replaced_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = replace(CONFIG, text="nobody/text", image="nobody/image")

    towers, notes = build_towers(ITEMS, config, read_image=read_image, store=FeatureStore(tmp_path))

    assert isinstance(towers.text, TfidfTextTower)
    assert isinstance(towers.image, PatchTower)
    assert notes[0].startswith("text tower: TF-IDF instead of nobody/text")
    assert notes[1].startswith("image tower: trained here instead of nobody/image")


def test_vectors_most_items_bring_are_taken(tmp_path: Path) -> None:
    vector = np.ones(3, dtype="<f2").tobytes()
    some = [replace(item, text_vector=vector) if n < 40 else item for n, item in enumerate(ITEMS)]
    few = [replace(item, text_vector=vector) if n < 39 else item for n, item in enumerate(ITEMS)]

    assert isinstance(built(tmp_path, some).text, ProvidedTower)
    assert isinstance(built(tmp_path, few).text, TfidfTextTower)
    assert isinstance(built(tmp_path, few, replace(CONFIG, text="provided")).text, ProvidedTower)


@pytest.mark.parametrize(
    ("n_given", "unused"),
    [
        (40, "40 items bring their own vectors and 40 do not; the {}s of the 40 stay unused"),
        (39, "39 items bring their own vectors and 41 do not; the vectors of the 39 stay unused"),
    ],
)
def test_where_some_items_bring_vectors_both_numbers_and_what_stays_unused_are_said(
    tmp_path: Path, n_given: int, unused: str
) -> None:
    vector = np.ones(3, dtype="<f2").tobytes()
    items = [replace(item, text_vector=vector, image_vector=vector) for item in ITEMS[:n_given]] + ITEMS[n_given:]

    _, notes = build_towers(items, CONFIG, read_image=read_image, store=FeatureStore(tmp_path))
    _, all_bring = build_towers(items[:n_given], CONFIG, read_image=read_image, store=FeatureStore(tmp_path))

    assert [note for note in notes if "unused" in note] == [
        f"{kind} tower: {unused.format(kind)}" for kind in ("text", "image")
    ]
    assert all_bring == (
        f"text tower: the vectors that {n_given} items brought",
        f"image tower: the vectors that {n_given} items brought",
    )


def test_a_vector_of_another_width_decides_nothing_and_does_not_stop_the_training(tmp_path: Path) -> None:
    vector, odd = np.ones(3, dtype="<f2").tobytes(), np.ones(2, dtype="<f2").tobytes()
    items = [replace(item, text_vector=odd if n == 0 else vector) for n, item in enumerate(ITEMS)]

    towers, notes = build_towers(items, CONFIG, read_image=read_image, store=FeatureStore(tmp_path))

    assert towers.text.dim == 3
    assert notes[1].startswith("image tower: trained on 72 pictures in ")  # 79 fit, of which 7 are held out


def test_an_item_whose_vector_does_not_fit_goes_without_and_the_others_are_encoded(tmp_path: Path) -> None:
    vector, odd = np.ones(3, dtype="<f2").tobytes(), np.ones(2, dtype="<f2").tobytes()
    items = [replace(item, text_vector=odd if n == 0 else vector) for n, item in enumerate(ITEMS)]
    towers = built(tmp_path, items)

    fitting = [towers.fitting(item) for item in items]
    table = encode_items(fitting, towers, store=FeatureStore(tmp_path), read_image=read_image)

    assert [item.text_vector for item in fitting[:2]] == [None, vector]
    assert table.text_mask.any(1).tolist() == [False] + [True] * (len(items) - 1)


def test_catalogue_of_one_item_gets_towers_and_vectors(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    towers, _ = build_towers(ITEMS[:1], CONFIG, read_image=read_image, store=store)

    table = encode_items(ITEMS[:1], towers, store=store, read_image=read_image)

    assert table.text_mask.tolist() == [[True, True]]
    assert table.image_mask.tolist() == [[True] * 4]


def test_keywords_are_chosen_from_the_catalogues_own_words(tmp_path: Path) -> None:
    config = replace(CONFIG, image=f"keywords:{write_tiny_clip(tmp_path / 'clip')}")

    towers, notes = build_towers(ITEMS, config, read_image=read_image, store=FeatureStore(tmp_path / "store"))

    assert notes == ()
    assert isinstance(towers.image, KeywordTower)
    assert (towers.image.n_parts, towers.image.dim) == (4, towers.text.dim)
    assert set(towers.image.keywords([noisy_picture(1)])[0]) == {"red", "blue", "shoe", "shirt"}


def test_keywords_are_encoded_into_the_table_beside_text(tmp_path: Path) -> None:
    config = replace(CONFIG, image=f"keywords:{write_tiny_clip(tmp_path / 'clip')}", n_keywords=2)
    towers, store = built(tmp_path, config=config), FeatureStore(tmp_path / "store")
    items = [ITEMS[0], ItemContent("gone", ("red",), "gone.png"), ItemContent("broken", (), "broken.png")]
    pictures = {"0.png": noisy_picture(0), "broken.png": b"broken"}

    table = encode_items(items, towers, store=store, read_image=pictures.get)
    again = encode_items(items, towers, store=FeatureStore(tmp_path / "store"), read_image=lambda _: None)

    assert table.image_mask.tolist() == [[True, True], [False, False], [False, False]]
    assert table.image.shape[2] == table.text.shape[2]
    assert torch.equal(again.image, table.image)  # from the store: the picture is gone


@pytest.mark.parametrize(
    ("items", "image", "reason"),
    [
        (ITEMS, "keywords", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K is not on disk and HF_HUB_OFFLINE forbids"),
        (ITEMS, "keywords:nobody/clip", "nobody/clip is not on disk"),
        ([replace(item, sentences=()) for item in ITEMS], "keywords:CLIP", "no word of the catalogue is known"),
        ([replace(item, text_vector=b"\0\0") for item in ITEMS], "keywords:CLIP", "items bring their own text vectors"),
    ],
)
def test_without_clip_or_words_the_image_tower_is_trained_here_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, items: list[ItemContent], image: str, reason: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    image = image.replace("CLIP", str(write_tiny_clip(tmp_path / "clip")))
    config = replace(CONFIG, image=image)

    towers, notes = build_towers(items, config, read_image=read_image, store=FeatureStore(tmp_path / "store"))

    assert isinstance(towers.image, PatchTower)
    assert notes[-1].startswith(f"image tower: trained here instead of {image} ({reason}")


def test_keyword_tower_is_kept_with_its_vectors_and_checked_by_clips_weights(tmp_path: Path) -> None:
    clip = write_tiny_clip(tmp_path / "clip")
    towers = built(tmp_path, config=replace(CONFIG, image=f"keywords:{clip}"))
    save_towers(tmp_path / "towers", towers)

    again = load_towers(tmp_path / "towers")

    assert again.revisions == towers.revisions
    assert isinstance(again.image, KeywordTower)
    assert isinstance(towers.image, KeywordTower)
    assert torch.equal(again.image.encode([noisy_picture(1)])[0], towers.image.encode([noisy_picture(1)])[0])

    write_tiny_clip(clip, seed=1)
    with pytest.raises(DamagedTower, match="its weights now give keywords-"):
        load_towers(tmp_path / "towers")
    shutil.rmtree(clip)
    with pytest.raises(TowerError, match="no model in folder"):
        load_towers(tmp_path / "towers")


def test_check_names_a_vector_that_does_not_fit() -> None:
    towers = Towers(ProvidedTower(3), ProvidedTower(2))
    towers.check(ItemContent("a"))

    with pytest.raises(BadVector, match="item 'a': vector of 2 bytes, wants 4"):
        towers.check(ItemContent("a", image_vector=b"\x00\x00"))


def test_towers_are_loaded_again_with_equal_vectors(tmp_path: Path) -> None:
    towers = built(tmp_path)
    save_towers(tmp_path / "towers", towers)

    again = load_towers(tmp_path / "towers")

    assert again.revisions == towers.revisions
    assert isinstance(again.text, TfidfTextTower)
    assert isinstance(again.image, PatchTower)
    assert isinstance(towers.image, PatchTower)
    assert torch.equal(again.image.encode([noisy_picture(1)])[0], towers.image.encode([noisy_picture(1)])[0])


def test_pretrained_towers_are_kept_by_name_and_checked_by_weights(tmp_path: Path) -> None:
    bert, vit = write_tiny_bert(tmp_path / "bert"), write_tiny_vit(tmp_path / "vit")
    towers = Towers(TransformerTextTower(str(bert), bert), VisionTower(str(vit), vit))
    save_towers(tmp_path / "towers", towers)
    assert load_towers(tmp_path / "towers").revisions == towers.revisions

    write_tiny_bert(bert, seed=1)

    with pytest.raises(DamagedTower, match="its weights now give transformer-"):
        load_towers(tmp_path / "towers")


@pytest.mark.parametrize(
    ("kept", "hint"),
    [
        (
            {"transformers": "5.1"},
            rf"changed, or transformers {version('transformers')} reads .* kept with, 5\.1; restore",
        ),
        ({}, "the one it was kept with, of an unknown version; restore them or train"),
        ({"transformers": version("transformers")}, "they were changed; restore them or train anew"),
    ],
)
def test_another_version_of_the_library_is_named_where_weights_give_another_revision(
    tmp_path: Path, kept: dict[str, str], hint: str
) -> None:
    bert = write_tiny_bert(tmp_path / "bert")
    save_towers(tmp_path / "towers", Towers(TransformerTextTower(str(bert), bert), ProvidedTower(2)))
    state = read_state(tmp_path / "towers" / "text")
    assert state.settings == {"name": str(bert), "transformers": version("transformers")}
    write_state(tmp_path / "towers" / "text", replace(state, settings={"name": str(bert), **kept}))
    write_tiny_bert(bert, seed=1)

    with pytest.raises(DamagedTower, match=hint):
        load_towers(tmp_path / "towers")


def test_provided_towers_are_loaded_again(tmp_path: Path) -> None:
    save_towers(tmp_path, Towers(ProvidedTower(3), ProvidedTower(2)))

    again = load_towers(tmp_path)

    assert (again.text.dim, again.image.dim) == (3, 2)


def test_towers_at_hand_are_taken_where_the_revision_is_the_same(tmp_path: Path) -> None:
    towers = built(tmp_path)
    save_towers(tmp_path / "towers", towers)
    other = Towers(towers.text, ProvidedTower(2))

    again = load_towers(tmp_path / "towers", loaded=other)

    assert again.text is towers.text
    assert again.image.revision == towers.image.revision


@pytest.mark.parametrize("file", ["text/tower.json", "text/tower.safetensors", "image/tower.safetensors"])
@pytest.mark.parametrize("damage", ["gone", "cut", "garbage"])
def test_damaged_files_give_one_clear_error(tmp_path: Path, file: str, damage: str) -> None:
    save_towers(tmp_path / "towers", built(tmp_path))
    path = tmp_path / "towers" / file
    content = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(content[:-10] if damage == "cut" else b"\xffgarbage")

    with pytest.raises(DamagedTower, match=r"no whole tower in .*; restore the bundle or train anew"):
        load_towers(tmp_path / "towers")


def test_changed_weights_are_noticed(tmp_path: Path) -> None:
    towers = built(tmp_path)
    save_towers(tmp_path / "towers", towers)
    state = read_state(tmp_path / "towers" / "image")
    write_state(
        tmp_path / "towers" / "image",
        replace(state, tensors={name: tensor + 1.0 for name, tensor in state.tensors.items()}),
    )

    with pytest.raises(DamagedTower, match="its weights now give patch-"):
        load_towers(tmp_path / "towers")


@pytest.mark.parametrize("modality", ["text", "image"])
def test_unknown_kind_and_format_are_refused(tmp_path: Path, modality: str) -> None:
    save_towers(tmp_path / "towers", built(tmp_path))
    folder = tmp_path / "towers" / modality
    write_state(folder, replace(read_state(folder), kind="oracle"))
    with pytest.raises(DamagedTower, match=f"{modality} tower of unknown kind 'oracle'"):
        load_towers(tmp_path / "towers")

    (folder / "tower.json").write_text('{"format": 99}')
    with pytest.raises(DamagedTower, match="is of tower format 99; this release reads 1"):
        load_towers(tmp_path / "towers")


def test_default_text_tower_is_minilm() -> None:
    assert TowerConfig().text == MINILM == "sentence-transformers/all-MiniLM-L6-v2"
