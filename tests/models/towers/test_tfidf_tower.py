import pytest
import torch

from models.towers.tfidf_tower import TfidfTextTower
from models.towers.tower import DamagedTower, TowerState

CORPUS = [["red running shoe", "made of mesh"], ["blue running shoe"], ["cotton shirt"], ["linen shirt"]]


def test_sentences_with_shared_words_are_close() -> None:
    tower = TfidfTextTower.fit(CORPUS)

    parts, mask = tower.encode([["running shoe"], ["red shoe"], ["cotton shirt"]])

    assert mask.all()
    torch.testing.assert_close(parts.norm(dim=-1), torch.ones(3, 1))
    assert parts[0, 0] @ parts[1, 0] > 0.5
    assert abs(float(parts[0, 0] @ parts[2, 0])) < 0.1


def test_unknown_words_are_no_part() -> None:
    _, mask = TfidfTextTower.fit(CORPUS).encode([["zebra"], ["shirt"], []])

    assert mask.tolist() == [[False], [True], [False]]


@pytest.mark.parametrize("corpus", [[], [[]], [["!"]], [["one"]], [["one", "two"]]])
def test_tiny_catalogues_are_no_error(corpus: list[list[str]]) -> None:
    tower = TfidfTextTower.fit(corpus)

    parts, mask = tower.encode([["one"], ["what else"]])

    assert parts.shape[2] == tower.dim >= 1
    assert mask[0, 0] == any("one" in sentences for sentences in corpus)


def test_same_corpus_and_seed_give_the_same_revision() -> None:
    assert TfidfTextTower.fit(CORPUS).revision == TfidfTextTower.fit(CORPUS).revision
    assert TfidfTextTower.fit(CORPUS).revision != TfidfTextTower.fit(CORPUS[:3]).revision


def test_state_is_read_again_with_equal_vectors() -> None:
    tower = TfidfTextTower.fit(CORPUS)

    again = TfidfTextTower.from_state(tower.state)

    assert again.revision == tower.revision
    assert torch.equal(again.encode([["red shirt"]])[0], tower.encode([["red shirt"]])[0])


def test_tensors_that_do_not_fit_the_vocabulary_are_refused() -> None:
    state = TfidfTextTower.fit(CORPUS).state
    torn = TowerState(state.kind, state.revision, {"terms": ["one"]}, state.tensors)

    with pytest.raises(DamagedTower, match="TF-IDF tower of 1 terms has tensors"):
        TfidfTextTower.from_state(torn)
