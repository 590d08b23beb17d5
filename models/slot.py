"""Where the current model hangs: load beside, then swap one reference."""

import threading
from collections.abc import Callable, Sequence

from models.content import ContentTable
from models.ranker import Ranker


class ModelSlot:
    """The model that answers now and the one before it.

    Readers call `current()` once per answer and use what they got: a reference swap never changes it under them.
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

    def swap(self, ranker: Ranker, *, catch_up: Callable[[Ranker], None] = lambda _: None) -> None:
        """Put `ranker` in the current one's place.

        Args:
            ranker: Loaded and warm.
            catch_up: Adds the items that arrived while it loaded; runs while no item can be added to the slot.
        """
        with self._lock:
            catch_up(ranker)
            self._previous, self._current = self._current, ranker
            self.n_swaps += 1

    def add_items(self, content: ContentTable) -> None:
        """Place items in the current model, if there is one."""
        with self._lock:
            if self._current is not None:
                self._current.add_items(content)

    def remove_items(self, item_ids: Sequence[str]) -> None:
        """Take items out of the current model."""
        with self._lock:
            if self._current is not None:
                self._current.remove_items(item_ids)
