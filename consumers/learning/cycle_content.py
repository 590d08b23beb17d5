"""The items of a cycle: the catalogue as the buffer has it, the towers, and the part vectors they make of it.

The first cycle builds the towers and keeps them in the work folder until it ends; every later one has its parent's.
"""

import shutil
from collections.abc import Sequence

from consumers.catalog.catalog import CatalogItem
from consumers.learning.cycle_reports import CycleReports
from consumers.learning.cycle_settings import CycleSettings
from consumers.learning.segments import load_items
from models.content.encode import encode_items
from models.content.features import FeatureStore
from models.content.table import ContentTable, ItemContent
from models.registry.bundle import Bundle
from models.towers.building import build_towers
from models.towers.pair import Towers, load_towers, save_towers
from models.towers.tower import TowerError
from stream.images import ImageStore

Contents = dict[str, ItemContent]
"""By item id."""


class CycleContent:
    """Reads, builds and encodes.

    Args:
        settings: Which towers, and where things lie.
        reports: Told what is built, and how far it is.
    """

    def __init__(self, settings: CycleSettings, reports: CycleReports) -> None:
        self._settings = settings
        self._reports = reports
        self._store = FeatureStore(settings.folders.features)
        self._images = ImageStore(settings.folders.images)
        self._kept_towers = settings.folders.work / "towers"

    def catalogue(self) -> Contents:
        """Every item as it is now."""
        items = load_items(self._settings.folders.buffer)
        return {item_id: CatalogItem.of(item).content for item_id, item in items.items()}

    def towers(self, contents: Sequence[ItemContent], parent: Bundle | None) -> Towers:
        """The parent's, or new ones; what a killed first cycle had built already is taken from the work folder.

        Raises:
            TowerError: the parent's cannot be read.
        """
        if parent is not None:
            return load_towers(parent.towers)
        if self._kept_towers.exists():
            try:
                return load_towers(self._kept_towers)
            except TowerError as exc:
                self._reports.say(f"building the towers anew: {exc}")
                shutil.rmtree(self._kept_towers)
        return self._built(contents)

    def table(self, item_ids: Sequence[str], contents: Contents, towers: Towers) -> ContentTable:
        """Content of the given items; one that left the catalogue keeps its row, with nothing in it."""
        ordered = [towers.fitting(contents.get(item_id, ItemContent(item_id))) for item_id in item_ids]
        on_progress = self._reports.counting("pieces of new content encoded")
        return encode_items(ordered, towers, store=self._store, read_image=self._read_image, on_progress=on_progress)

    def forget(self) -> None:
        """Remove the towers from the work folder, which only an open cycle needs."""
        shutil.rmtree(self._kept_towers, ignore_errors=True)

    def _built(self, contents: Sequence[ItemContent]) -> Towers:
        self._reports.say(f"preparing the content towers for {len(contents):,} items")
        towers, notes = build_towers(
            contents,
            self._settings.towers,
            read_image=self._read_image,
            store=self._store,
            on_progress=self._reports.counting("items that the new towers worked on"),
        )
        for note in notes:
            self._reports.say(note)
        half_written = self._kept_towers.with_suffix(".tmp")
        shutil.rmtree(half_written, ignore_errors=True)
        save_towers(half_written, towers)
        half_written.rename(self._kept_towers)
        return towers

    def _read_image(self, reference: str) -> bytes | None:
        try:
            return self._images.get(reference)
        except (OSError, ValueError):
            return None
