"""Where the current model hangs: load beside, then swap one reference."""

import threading
from collections.abc import Sequence

from models.content.table import ContentTable
from models.ranker import Ranker


class ModelSlot:
    """The model that answers now and the one before it.

    Readers call `current()` once per answer and use what they got: a swap never changes it under them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: Ranker | None = None
        self._previous: Ranker | None = None
        self.n_swaps = 0

    def current(self) -> Ranker | None:
        """The model that answers now; None before the first."""
        return self._current

    @property
    def previous(self) -> Ranker | None:
        """The model before the current one."""
        return self._previous

    def swap(self, ranker: Ranker) -> None:
        """Put `ranker`, loaded and warm, in the current one's place."""
        with self._lock:
            self._previous, self._current = self._current, ranker
            self.n_swaps += 1

    def add_items(self, content: ContentTable) -> None:
        """Place items in both models, where there are any: the watcher may still predict with the one before.

        The one before is passed over where it has other towers: these vectors mean nothing to it.
        """
        with self._lock:
            for ranker in self._models():
                if self._current is None or ranker.manifest.tower_revisions == self._current.manifest.tower_revisions:
                    ranker.add_items(content)

    def remove_items(self, item_ids: Sequence[str]) -> None:
        """Take items out of both models."""
        with self._lock:
            for ranker in self._models():
                ranker.remove_items(item_ids)

    def _models(self) -> list[Ranker]:
        return [ranker for ranker in (self._current, self._previous) if ranker is not None]
