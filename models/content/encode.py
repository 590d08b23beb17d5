"""Items to the content table, encoding only what no process has encoded before."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from models.content.features import FeatureStore, content_hash
from models.content.table import ContentError, ContentTable, ItemContent
from models.towers.pair import ReadImage, Towers
from models.towers.provided_tower import ProvidedTower
from models.towers.tower import ImageTower, TextTower, Tower

OnProgress = Callable[[int, int], None]
"""Told how many pieces of content of how many are encoded."""

CHUNK = 256  # items between two files and two reports of progress

_Encode = Callable[[Sequence[int]], tuple[list[int], Tensor, Tensor]]


def encode_items(
    items: Sequence[ItemContent],
    towers: Towers,
    *,
    store: FeatureStore,
    read_image: ReadImage,
    on_progress: OnProgress | None = None,
) -> ContentTable:
    """Part vectors of all items, from the store where it has them, else encoded and stored.

    Args:
        items: each once.
        towers: what encodes.
        store: of the same disk for all processes.
        read_image: image reference to bytes. A picture that is gone or undecodable is a missing image.
        on_progress: called after every `CHUNK` of new content.

    Returns:
        One row an item, in the order given; the same whether a vector was just made or read, as both are rounded
        to float16.

    Raises:
        BadVector: an item's own vector does not fit, the item is named; `Towers.check` says so of a single item.
        ContentError: a tower gave vectors of another width or with values that are not finite.
        OSError: the store cannot be written.
    """
    text, text_mask = encode_text(items, towers.text, store=store, on_progress=on_progress)
    image, image_mask = _encode_images(items, towers.image, store, read_image, on_progress)
    return ContentTable(tuple(item.item_id for item in items), text, text_mask, image, image_mask)


def encode_text(
    items: Sequence[ItemContent],
    tower: TextTower | ProvidedTower,
    *,
    store: FeatureStore,
    on_progress: OnProgress | None = None,
) -> tuple[Tensor, Tensor]:
    """Text parts (N, S, d) and mask (N, S) of all items; see `encode_items`."""
    if isinstance(tower, ProvidedTower):
        return _provided([(item.item_id, item.text_vector) for item in items], tower)
    keys = [content_hash(*item.sentences) if item.sentences else None for item in items]
    return _through_store(keys, tower, store, partial(_encode_sentences, items, tower), on_progress)


def _encode_sentences(
    items: Sequence[ItemContent], tower: TextTower, rows: Sequence[int]
) -> tuple[list[int], Tensor, Tensor]:
    parts, mask = tower.encode([items[row].sentences for row in rows])
    return list(rows), parts, mask


def _encode_images(
    items: Sequence[ItemContent],
    tower: ImageTower | ProvidedTower,
    store: FeatureStore,
    read_image: ReadImage,
    on_progress: OnProgress | None,
) -> tuple[Tensor, Tensor]:
    if isinstance(tower, ProvidedTower):
        return _provided([(item.item_id, item.image_vector) for item in items], tower)
    keys = [None if item.image is None else _picture_key(item.image) for item in items]
    return _through_store(keys, tower, store, partial(_encode_pictures, items, tower, read_image), on_progress)


def _picture_key(reference: str) -> str:
    """Hash of the picture's own hash alone: the evaluation's references are without an extension."""
    return content_hash(reference.partition(".")[0])


def _provided(vectors: Sequence[tuple[str, bytes | None]], tower: ProvidedTower) -> tuple[Tensor, Tensor]:
    for item_id, vector in vectors:
        tower.check(item_id, vector)
    return tower.encode([vector for _, vector in vectors])


def _encode_pictures(
    items: Sequence[ItemContent], tower: ImageTower, read_image: ReadImage, rows: Sequence[int]
) -> tuple[list[int], Tensor, Tensor]:
    """Pictures that are gone are left out, so that they are looked for again; undecodable ones stay undecodable."""
    images = {row: read_image(items[row].image or "") for row in rows}
    there = [row for row, image in images.items() if image is not None]
    parts, mask = tower.encode([images[row] for row in there])
    return there, parts, mask


def _through_store(
    keys: Sequence[str | None], tower: Tower, store: FeatureStore, encode: _Encode, on_progress: OnProgress | None
) -> tuple[Tensor, Tensor]:
    """Parts (N, S, d) and mask (N, S) by content key; None is missing content."""
    first_row = {key: row for row, key in reversed(list(enumerate(keys))) if key is not None}
    found = store.get(tower.revision, list(first_row))
    new = [row for key, row in first_row.items() if key not in found.row_of]
    for start in range(0, len(new), CHUNK):
        rows, parts, mask = encode(new[start : start + CHUNK])
        _check_width(parts, tower, "correct the tower")
        store.put(tower.revision, [keys[row] or "" for row in rows], parts=parts, mask=mask)
        if on_progress is not None:
            on_progress(min(start + CHUNK, len(new)), len(new))
    if new:
        del found  # two at once are twice the room
        found = store.get(tower.revision, list(first_row))
    if not found.row_of:
        return torch.zeros(len(keys), 1, tower.dim), torch.zeros(len(keys), 1, dtype=torch.bool)
    _check_width(found.parts, tower, "delete the folder of that name among the features, they are encoded again")
    at = torch.tensor([found.row_of.get(key, -1) if key else -1 for key in keys], dtype=torch.int64)
    mask = found.mask[at] & (at >= 0)[:, None]
    return found.parts[at].masked_fill_(~mask.unsqueeze(-1), 0.0), mask


def _check_width(parts: Tensor, tower: Tower, remedy: str) -> None:
    if parts.shape[2] != tower.dim:
        raise ContentError(f"parts of {tower.revision} are {parts.shape[2]} wide, its width is {tower.dim}; {remedy}")
