import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers import CLIPModel, CLIPProcessor

from models.towers.clip import Clip
from models.towers.keyword_tower import N_KEYWORDS, KeywordTower
from models.towers.text_tower import TransformerTextTower
from models.towers.tfidf_tower import TfidfTextTower
from models.towers.tower import DamagedTower, TowerError
from models.towers.vocabulary import Vocabulary
from tests.models.clip_fixture import SIZE, write_tiny_clip
from tests.models.tower_fixtures import noisy_picture, picture, write_tiny_bert

WORDS = ("red", "blue", "shoe", "shirt", "cat", "dog", "runs", "sleeps", "mountain", "tree", "sky", "house")
TEXT = TfidfTextTower.fit([[word] for word in WORDS])


def exact_picture(seed: int) -> bytes:
    """Blocks of colour of the very size CLIP wants, so that nothing is resized."""
    blocks = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(blocks.repeat(SIZE // 4, 0).repeat(SIZE // 4, 1)).save(buffer, "PNG")
    return buffer.getvalue()


PICTURES = [exact_picture(seed) for seed in range(40)]  # more than a batch


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def clip(folder: Path) -> Clip:
    return Clip.load(str(folder))


def tower_of(clip: Clip, *, words: tuple[str, ...] = WORDS, n_keywords: int = 3) -> KeywordTower:
    return KeywordTower(clip, Vocabulary.encoded(words, clip=clip, text=TEXT), n_keywords=n_keywords)


def slow_cosines(folder: Path) -> Tensor:
    """(pictures, words) float64, one at a time, by the library's own processor and functions of the whole model."""
    model = CLIPModel.from_pretrained(folder).double().eval()
    processor = CLIPProcessor.from_pretrained(folder)
    rows = []
    with torch.inference_mode():
        for data in PICTURES:
            pixels = processor(images=Image.open(io.BytesIO(data)), return_tensors="pt")["pixel_values"].double()
            row = [
                model(pixel_values=pixels, **processor(text=[word], return_tensors="pt")).logits_per_image
                for word in WORDS
            ]
            rows.append(torch.cat(row, 1) / model.logit_scale.exp())
    return torch.cat(rows)


def test_keywords_are_those_of_a_slow_reference_in_its_order(clip: Clip, folder: Path) -> None:
    cosines = slow_cosines(folder)
    best = cosines.sort(dim=1, descending=True)
    assert (best.values[:, :4].diff(dim=1) < -1e-6).all()  # no ties among these
    expected = [tuple(WORDS[column] for column in row[:3]) for row in best.indices.tolist()]

    assert tower_of(clip).keywords(PICTURES) == expected
    assert len(set(expected)) > 5  # different pictures have different keywords


def test_parts_are_the_text_towers_vectors_of_the_keywords(clip: Clip) -> None:
    tower = tower_of(clip)

    parts, mask = tower.encode(PICTURES[:2])

    said, _ = TEXT.encode([[word] for word in tower.keywords(PICTURES[:1])[0]])
    assert torch.equal(parts[0], said[:, 0])
    assert mask.tolist() == [[True] * 3] * 2
    assert (tower.n_parts, tower.dim) == (3, TEXT.dim)


def test_missing_and_unreadable_pictures_have_no_part(clip: Clip) -> None:
    tower = tower_of(clip)
    images = [None, PICTURES[3], b"", b"GIF89a", PICTURES[0][:60], picture((9, 9, 9), size=(50, 20))]

    parts, mask = tower.encode(images)

    assert mask.any(1).tolist() == [False, True, False, False, False, True]
    assert parts[~mask].abs().sum() == 0
    assert [len(words) for words in tower.keywords(images)] == [0, 3, 0, 0, 0, 3]
    assert torch.equal(parts[1], tower.encode([PICTURES[3]])[0][0])


def test_several_threads_get_the_same_parts(clip: Clip) -> None:
    tower = tower_of(clip)
    expected, _ = tower.encode(PICTURES[:8])

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: tower.encode(PICTURES[:8])[0], range(8)))

    assert all(torch.equal(parts, expected) for parts in answers)


def test_nothing_to_encode_is_an_empty_table(clip: Clip) -> None:
    parts, mask = tower_of(clip).encode([])

    assert parts.shape == (0, 3, TEXT.dim)
    assert mask.shape == (0, 3)


def test_vocabulary_smaller_than_n_is_taken_whole(clip: Clip) -> None:
    tower = tower_of(clip, words=("cat", "dog"), n_keywords=15)

    parts, mask = tower.encode([PICTURES[0], None])

    assert parts.shape == (2, 2, TEXT.dim)
    assert mask.tolist() == [[True, True], [False, False]]
    assert set(tower.keywords(PICTURES[:1])[0]) == {"cat", "dog"}


def test_one_keyword_is_everything_a_picture_can_be(clip: Clip) -> None:
    assert tower_of(clip, words=("cat",), n_keywords=15).keywords(PICTURES[:1]) == [("cat",)]


def test_equal_keywords_for_clip_keep_their_order(clip: Clip) -> None:
    seen = functional.normalize(torch.ones(20, clip.dim), dim=1)
    words = tuple("abcdefghijklmnopqrst")

    tower = KeywordTower(clip, Vocabulary(words, seen, torch.eye(20), "text"), n_keywords=3)

    assert tower.keywords(PICTURES[:1]) == [("a", "b", "c")]


def test_number_of_keywords_is_the_papers_and_at_least_one(clip: Clip) -> None:
    assert N_KEYWORDS == 15
    with pytest.raises(TowerError, match="n_keywords=0 must be at least 1"):
        tower_of(clip, n_keywords=0)


def test_keywords_of_another_clip_are_refused_by_width(clip: Clip, folder: Path) -> None:
    vocabulary = Vocabulary(("cat",), torch.ones(1, 5), torch.ones(1, 2), "text")

    with pytest.raises(TowerError, match=f"keywords seen at width 5, CLIP '{folder}' has 8"):
        KeywordTower(clip, vocabulary)


def test_revision_follows_clip_words_number_and_text_tower(clip: Clip, folder: Path, tmp_path: Path) -> None:
    tower = tower_of(clip)
    bert = write_tiny_bert(tmp_path / "bert")
    said_by_bert = Vocabulary.encoded(WORDS, clip=clip, text=TransformerTextTower("bert", bert))
    others = [
        tower_of(Clip.load(str(write_tiny_clip(tmp_path / "other", seed=1)))),
        tower_of(clip, words=WORDS[:-1]),
        tower_of(clip, n_keywords=4),
        KeywordTower(clip, said_by_bert, n_keywords=3),
    ]

    assert tower.revision.startswith("keywords-")
    assert tower_of(Clip("a copy", folder)).revision == tower.revision
    assert len({tower.revision, *(other.revision for other in others)}) == 5


def test_state_is_read_again_with_equal_keywords(clip: Clip) -> None:
    tower = tower_of(clip)

    again = KeywordTower.from_state(tower.state)

    assert again.revision == tower.revision
    assert again.keywords(PICTURES) == tower.keywords(PICTURES)
    assert torch.equal(again.encode(PICTURES)[0], tower.encode(PICTURES)[0])


def test_state_that_is_not_whole_is_refused(clip: Clip) -> None:
    state = tower_of(clip).state
    shifted = {**state.tensors, "said": state.tensors["said"].roll(1, 0)}

    with pytest.raises(
        DamagedTower, match=r"keywords-.* was kept with vocabulary-.*, its keywords now give vocabulary-"
    ):
        KeywordTower.from_state(replace(state, tensors=shifted))
    with pytest.raises(DamagedTower, match=r"is not whole: KeyError\('seen'\)"):
        KeywordTower.from_state(replace(state, tensors={}))
    with pytest.raises(DamagedTower, match=r"11 keywords have seen vectors of shape \(12, 8\)"):
        KeywordTower.from_state(replace(state, settings={**state.settings, "words": list(WORDS[:-1])}))


def test_noisy_pictures_of_other_sizes_are_told_apart(clip: Clip) -> None:
    words = tower_of(clip).keywords([noisy_picture(1), picture((250, 20, 20)), picture((20, 20, 250))])

    assert len(set(words)) > 1
