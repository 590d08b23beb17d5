from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.content import encode
from models.content.encode import encode_items
from models.content.features import FeatureStore
from models.content.table import ItemContent
from models.towers.pair import Towers
from models.towers.patch_tower import PatchConfig, PatchNet, PatchTower
from models.towers.provided_tower import ProvidedTower
from models.towers.tfidf_tower import TfidfTextTower
from tests.models.tower_fixtures import noisy_picture

CORPUS = [["red shoe"], ["blue shirt"]]


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
    assert table.text[~table.text_mask].abs().sum() == 0


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


def test_own_vectors_are_taken_where_the_tower_takes_them(tmp_path: Path) -> None:
    vector = np.array([0.0, 2.0], dtype="<f2").tobytes()
    items = [ItemContent("a", ("words",), text_vector=vector), ItemContent("b", ("words",))]
    both = Towers(ProvidedTower(2), towers().image)

    table = encode_items(items, both, store=FeatureStore(tmp_path), read_image=IMAGES.get)

    assert table.text.tolist() == [[[0.0, 1.0]], [[0.0, 0.0]]]
    assert table.text_mask.tolist() == [[True], [False]]


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


def test_no_items_give_an_empty_table(tmp_path: Path) -> None:
    table = encode_items([], towers(), store=FeatureStore(tmp_path), read_image=IMAGES.get)

    assert len(table) == 0
    assert table.image.shape[2] == 8
