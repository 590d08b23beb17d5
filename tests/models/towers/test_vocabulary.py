from pathlib import Path

import pytest
import torch

from models.towers.clip import Clip
from models.towers.tfidf_tower import TfidfTextTower
from models.towers.tower import NoKeywords, TowerError
from models.towers.vocabulary import MAX_WORDS, Vocabulary, frequent_words
from tests.models.clip_fixture import write_tiny_clip


def test_words_are_counted_once_an_item_and_ties_go_by_the_alphabet() -> None:
    corpus = [["Red shoe, red sole."], ["Blue shoe"], ["A SHOE for the blue one"]]

    assert frequent_words(corpus) == ("shoe", "blue", "red", "sole")


def test_numbers_short_and_empty_words_are_no_keywords() -> None:
    assert frequent_words([["Heat (1995) is on TV with them, 3x3 r2d2"]]) == ("heat",)
    assert frequent_words([]) == ()
    assert frequent_words([["été", "映画館"]]) == ("été", "映画館")


def test_the_rarest_go_beyond_the_limit() -> None:
    assert MAX_WORDS == 4_000
    assert frequent_words([["shoe"], ["shoe", "shirt"]], limit=1) == ("shoe",)


def test_words_unknown_to_the_text_tower_are_left_out(tmp_path: Path) -> None:
    clip = Clip.load(str(write_tiny_clip(tmp_path)))
    text = TfidfTextTower.fit([["red shoe"], ["blue shirt"]])

    vocabulary = Vocabulary.encoded(("red", "zebra", "shirt"), clip=clip, text=text)

    assert vocabulary.words == ("red", "shirt")
    assert torch.equal(vocabulary.seen, clip.words(["red", "shirt"]))
    assert vocabulary.text_revision == text.revision
    with pytest.raises(NoKeywords, match="no word of the catalogue is known to its text tower"):
        Vocabulary.encoded(("zebra",), clip=clip, text=text)


def test_vectors_that_cannot_be_ranked_by_are_named() -> None:
    with pytest.raises(TowerError, match=r"2 keywords have said vectors of shape \(1, 3\)"):
        Vocabulary(("cat", "dog"), torch.ones(2, 2), torch.ones(1, 3), "text")
    with pytest.raises(TowerError, match="seen vector of keyword 'dog' is not finite"):
        Vocabulary(("cat", "dog"), torch.tensor([[1.0], [torch.nan]]), torch.ones(2, 3), "text")


def test_hash_follows_the_words_and_checksum_the_vectors_too() -> None:
    one = Vocabulary(("cat",), torch.ones(1, 2), torch.ones(1, 3), "text")
    other_vectors = Vocabulary(("cat",), torch.zeros(1, 2), torch.ones(1, 3), "text")
    other_word = Vocabulary(("dog",), torch.ones(1, 2), torch.ones(1, 3), "text")

    assert one.digest == other_vectors.digest != other_word.digest
    assert len({one.checksum, other_vectors.checksum, other_word.checksum}) == 3
