"""From the catalogue to a model's index: encodes items with the current model's towers and makes them servable.

    catalog -> towers -> feature store -> content table -> slot.add_items

A model may be swapped in while items come and go. `swap_in` is the one way to do that: it loads the model with the
whole catalogue's content, and then, with placing held up, catches up on what changed meanwhile. So no item is lost
between two models, and no model is ever given vectors of another's towers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Protocol, TypeVar

import structlog
import torch

from consumers.catalog.catalog import Catalog, CatalogItem
from models.content.encode import OnProgress, encode_items
from models.content.features import FeatureStore
from models.content.table import ContentTable, ItemContent
from models.towers.pair import Towers
from models.towers.tower import BadVector
from stream.admission import admit_item
from stream.events import ItemUpsert
from stream.images import ImageError, ImageStore
from stream.log import Record


class TakesItems(Protocol):
    """What items are placed in: a ranker, or the slot that holds the current one."""

    def add_items(self, content: ContentTable) -> None:
        """Place items, or place them anew."""
        ...

    def remove_items(self, item_ids: Sequence[str]) -> None:
        """Recommend these no more."""
        ...


_Model = TypeVar("_Model", bound=TakesItems)


class Placement:
    """Places the catalogue's items in the slot's model. Safe for several threads.

    Args:
        catalog: the items.
        slot: holds the model that answers now.
        store: where vectors are kept, shared with the trainer.
        images: where image references point.
    """

    def __init__(self, catalog: Catalog, slot: TakesItems, *, store: FeatureStore, images: ImageStore) -> None:
        self._catalog, self._slot = catalog, slot
        self._store, self._images = store, images
        self._towers: Towers | None = None
        self._swapping = Lock()  # held while the slot's model or its items change

    @property
    def towers(self) -> Towers | None:
        """Of the model that answers now; None before the first."""
        return self._towers

    def content_table(self, towers: Towers, *, on_progress: OnProgress | None = None) -> ContentTable:
        """The whole catalogue's content; what the trainer encoded already is only read."""
        return self._content(self._catalog.items(), towers, on_progress)

    def check(self, record: Record) -> None:
        """Refuse a record of `items` that is none, or whose vectors go unused.

        Raises:
            BadEvent: it is no item.
            BadVector: its own vectors are none that the current model can take; the item is placed without them.
        """
        event = admit_item(record)
        if self._towers is not None and isinstance(event, ItemUpsert):
            self._towers.check(CatalogItem.of(event).content)

    def place(self, item_ids: Sequence[str]) -> list[str]:
        """Encode items and give them to the slot.

        Returns:
            The items placed; not those removed or changed meanwhile, and none where there is no model yet, as it
            will come with all items.

        Raises:
            OSError: vectors cannot be stored; place them again.
        """
        while (towers := self._settled_towers()) is not None:
            items = [item for item_id in item_ids if (item := self._catalog.get(item_id)) is not None]
            content = self._content(items, towers)
            with self._swapping:
                if self._towers is towers:
                    return self._give(items, content)
        return []

    def remove(self, item_ids: Sequence[str]) -> None:
        """Take removed items out of the slot."""
        with self._swapping:
            self._slot.remove_items(item_ids)

    def swap_in(
        self, towers: Towers, *, load: Callable[[ContentTable], _Model], swap: Callable[[_Model], None]
    ) -> _Model:
        """Load a model with the catalogue's content and put it in place of the current one.

        Args:
            towers: the model's.
            load: makes it from content; takes its time while the current one answers.
            swap: puts it in place, such as `ModelSlot.swap`.

        Returns:
            The model, with every item the catalogue has at this moment.
        """
        start = self._catalog.changed_since(0)
        model = load(self._content(start.upserted, towers))
        with self._swapping:
            changes = self._catalog.changed_since(start.version)
            model.remove_items(changes.removed)
            model.add_items(self._content(changes.upserted, towers))
            swap(model)
            self._towers = towers
        return model

    def _settled_towers(self) -> Towers | None:
        """Of the model that answers; while the first is swapped in, wait: it may not come with the newest items."""
        if self._towers is None:
            with self._swapping:
                return self._towers
        return self._towers

    def _give(self, items: Sequence[CatalogItem], content: ContentTable) -> list[str]:
        """Place what is still as it was when it was encoded; what changed is placed by its own record."""
        rows = [row for row, item in enumerate(items) if self._catalog.get(item.item_id) is item]
        self._slot.add_items(content.select(torch.tensor(rows, dtype=torch.int64)))
        return [items[row].item_id for row in rows]

    def _content(
        self, items: Sequence[CatalogItem], towers: Towers, on_progress: OnProgress | None = None
    ) -> ContentTable:
        contents = [_without_bad_vectors(item.content, towers) for item in items]
        table = encode_items(contents, towers, store=self._store, read_image=self._read_image, on_progress=on_progress)
        _report_unusable(contents, table)
        return table

    def _read_image(self, ref: str) -> bytes | None:
        try:
            return self._images.get(ref)
        except ImageError:
            return None


def _without_bad_vectors(content: ItemContent, towers: Towers) -> ItemContent:
    """An item that brought vectors the towers cannot take goes without."""
    try:
        towers.check(content)
    except BadVector as exc:
        structlog.get_logger().warning("item_vectors_refused", reason=str(exc))
        return towers.fitting(content)
    return content


def _report_unusable(contents: Sequence[ItemContent], table: ContentTable) -> None:
    has_image = torch.tensor([content.image is not None for content in contents], dtype=torch.bool)
    n_unusable = int((has_image & ~table.image_mask.any(1)).sum())
    if n_unusable:
        structlog.get_logger().warning("item_images_unusable", n_images=n_unusable, n_items=len(contents))
