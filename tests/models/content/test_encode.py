from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models.content import encode
from models.content.encode import encode_items
from models.content.features import FeatureStore, content_hash
from models.content.table import ContentError, ItemContent
from models.towers.pair import Towers
from models.towers.patch_tower import PatchConfig, PatchNet, PatchTower
from models.towers.provided_tower import ProvidedTower
from models.towers.tfidf_tower import TfidfTextTower
from models.towers.tower import BadVector
from tests.models.tower_fixtures import noisy_picture

CORPUS = [["red shoe"], ["blue shirt"]]
MASK = torch.ones(1, 1, dtype=torch.bool)


class CountingTower(TfidfTextTower):
    """Notes how many items it was asked to encode."""

    n_encoded = 0

    def encode(self, sentences: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
        self.n_encoded += len(sentences)
        return super().encode(sentences)


def towers() -> Towers:
    torch.manual_seed(0)
    net = PatchNet(PatchConfig(size=16, patch=4, dim=8, n_layers=1, n_heads=2))
    return Towers(CountingTower.fit(CORPUS), PatchTower(net))


IMAGES = {"1.png": noisy_picture(1), "broken.png": b"broken"}


def test_every_combination_of_missing_content_is_a_row(tmp_path: Path) -> None:
    items = [
        ItemContent("both", ("red shoe",), "1.png"),
        ItemContent("text", ("blue shirt", "red shoe")),
        ItemContent("image", (), "1.png"),
        ItemContent("gone", (), "2.png"),
        ItemContent("broken", (), "broken.png"),
        ItemContent("nothing"),
    ]

    table = encode_items(items, towers(), store=FeatureStore(tmp_path), read_image=IMAGES.get)

    assert table.item_ids == ("both", "text", "image", "gone", "broken", "nothing")
    assert table.text_mask.sum(1).tolist() == [1, 2, 0, 0, 0, 0]
    assert table.image_mask.sum(1).tolist() == [4, 0, 4, 0, 0, 0]
    assert torch.equal(table.image[0], table.image[2])
    for parts, mask in ((table.text, table.text_mask), (table.image, table.image_mask)):
        assert not any(parts[~mask].numpy().tobytes())  # nor negative zeros: what a checkpoint is of is known by bytes


def test_only_unseen_content_is_encoded_also_after_a_restart(tmp_path: Path) -> None:
    both = towers()
    text = both.text
    assert isinstance(text, CountingTower)
    items = [ItemContent("a", ("red shoe",)), ItemContent("b", ("red shoe",)), ItemContent("c", ("shirt",))]
    first = encode_items(items, both, store=FeatureStore(tmp_path), read_image=IMAGES.get)
    assert text.n_encoded == 2  # the same text twice is encoded once

    again = encode_items(items, both, store=FeatureStore(tmp_path), read_image=IMAGES.get)
    encode_items([ItemContent("d", ("blue",))], both, store=FeatureStore(tmp_path), read_image=IMAGES.get)

    assert text.n_encoded == 3
    assert torch.equal(first.text, again.text)


def test_picture_that_comes_back_is_encoded(tmp_path: Path) -> None:
    store, both = FeatureStore(tmp_path), towers()
    item = [ItemContent("a", (), "1.png")]
    encode_items(item, both, store=store, read_image=lambda _: None)

    table = encode_items(item, both, store=store, read_image=IMAGES.get)

    assert table.image_mask.all()


def test_picture_encoded_for_an_evaluation_is_not_encoded_again_live(tmp_path: Path) -> None:
    digest, both, store = "0f" * 32, towers(), FeatureStore(tmp_path)
    offline, live = [ItemContent("a", (), digest)], [ItemContent("a", (), f"{digest}.png")]

    first = encode_items(offline, both, store=store, read_image=lambda _: IMAGES["1.png"])
    again = encode_items(live, both, store=store, read_image=lambda _: None)

    assert again.image_mask.all()
    assert torch.equal(again.image, first.image)


def test_picture_that_finds_no_memory_is_encoded_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, both, item = FeatureStore(tmp_path), towers(), [ItemContent("a", (), "1.png")]

    def full(*_args: object, **_named: object) -> None:
        raise MemoryError

    with monkeypatch.context() as short:
        short.setattr("PIL.Image.Image.resize", full)
        with pytest.raises(MemoryError):
            encode_items(item, both, store=store, read_image=IMAGES.get)

    table = encode_items(item, both, store=store, read_image=IMAGES.get)
    assert table.image_mask.all()


def test_own_vectors_are_taken_where_the_tower_takes_them(tmp_path: Path) -> None:
    vector = np.array([0.0, 2.0], dtype="<f2").tobytes()
    items = [ItemContent("a", ("words",), text_vector=vector), ItemContent("b", ("words",))]
    both = Towers(ProvidedTower(2), towers().image)

    table = encode_items(items, both, store=FeatureStore(tmp_path), read_image=IMAGES.get)

    assert table.text.tolist() == [[[0.0, 1.0]], [[0.0, 0.0]]]
    assert table.text_mask.tolist() == [[True], [False]]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([1.0, 2.0, 3.0], "vector of 6 bytes, wants 4: 2 little-endian float16"),
        ([1.0, float("nan")], "number 2 of a vector of 2 is nan; send finite float16"),
        ([1.0, float("inf")], "number 2 of a vector of 2 is inf; send finite float16"),
    ],
)
def test_own_vector_that_does_not_fit_is_named_with_its_item(tmp_path: Path, values: list[float], reason: str) -> None:
    good, bad = (np.array(numbers, dtype="<f2").tobytes() for numbers in ([0.0, 2.0], values))
    store, both = FeatureStore(tmp_path), Towers(ProvidedTower(2), ProvidedTower(2))

    for item in (ItemContent("b", text_vector=bad), ItemContent("b", image_vector=bad)):
        with pytest.raises(BadVector, match=f"item 'b': {reason}"):
            encode_items([ItemContent("a", text_vector=good), item], both, store=store, read_image=IMAGES.get)


class BrokenTower(TfidfTextTower):
    """Gives one value that is no number."""

    def encode(self, sentences: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
        parts, mask = super().encode(sentences)
        parts[-1, 0, 0] = torch.nan
        return parts, mask


class WideTower(TfidfTextTower):
    """Gives one value more than it says."""

    def encode(self, sentences: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
        parts, mask = super().encode(sentences)
        return torch.cat([parts, parts[:, :, :1]], 2), mask


def test_what_a_tower_gives_wrong_is_named_and_never_stored(tmp_path: Path) -> None:
    items = [ItemContent("a", ("red shoe",)), ItemContent("b", ("blue shirt",))]
    store, image = FeatureStore(tmp_path), ProvidedTower(2)

    with pytest.raises(ContentError, match=r"tfidf-.* gave nan in part 0 of row 1, wants numbers that float16 holds"):
        encode_items(items, Towers(BrokenTower.fit(CORPUS), image), store=store, read_image=IMAGES.get)
    with pytest.raises(ContentError, match=r"parts of tfidf-.* are 3 wide, its width is 2; correct the tower"):
        encode_items(items, Towers(WideTower.fit(CORPUS), image), store=store, read_image=IMAGES.get)

    table = encode_items(items, Towers(TfidfTextTower.fit(CORPUS), image), store=store, read_image=IMAGES.get)
    assert table.text_mask.all()  # the same revision, and nothing of the others was kept


def test_stored_vectors_of_another_width_are_named(tmp_path: Path) -> None:
    both, store = towers(), FeatureStore(tmp_path)
    store.put(both.text.revision, [content_hash("red shoe")], parts=torch.ones(1, 1, 7), mask=MASK)

    with pytest.raises(ContentError, match=r"are 7 wide, its width is 2; delete the folder of that name"):
        encode_items([ItemContent("a", ("red shoe",))], both, store=store, read_image=IMAGES.get)


def test_catalogue_of_one_item_without_any_content_is_a_row_of_nothing(tmp_path: Path) -> None:
    table = encode_items([ItemContent("a")], towers(), store=FeatureStore(tmp_path), read_image=IMAGES.get)

    assert table.item_ids == ("a",)
    assert (table.text_mask.any(), table.image_mask.any()) == (False, False)
    assert (table.text.shape[2], table.image.shape[2]) == (2, 8)


def test_progress_counts_new_content_up_to_its_end(tmp_path: Path) -> None:
    n_items = 2 * encode.CHUNK + 1
    items = [ItemContent(str(n), (f"shoe {n}",)) for n in range(n_items)]
    seen: list[tuple[int, int]] = []

    encode_items(
        items,
        towers(),
        store=FeatureStore(tmp_path),
        read_image=IMAGES.get,
        on_progress=lambda done, total: seen.append((done, total)),
    )

    assert seen == [(256, 513), (512, 513), (513, 513)]


def test_killed_encoding_goes_on_after_its_last_chunk(tmp_path: Path) -> None:
    items = [ItemContent(str(n), (f"shoe {n}",)) for n in range(2 * encode.CHUNK + 1)]
    seen: list[tuple[int, int]] = []

    def killed(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_items(items, towers(), store=FeatureStore(tmp_path), read_image=IMAGES.get, on_progress=killed)
    encode_items(
        items,
        towers(),
        store=FeatureStore(tmp_path),
        read_image=IMAGES.get,
        on_progress=lambda done, total: seen.append((done, total)),
    )

    assert seen == [(256, 257), (257, 257)]


def test_no_items_give_an_empty_table(tmp_path: Path) -> None:
    table = encode_items([], towers(), store=FeatureStore(tmp_path), read_image=IMAGES.get)

    assert len(table) == 0
    assert table.image.shape[2] == 8
