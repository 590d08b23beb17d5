"""The products by what they are, drawn by how well they sell among those that have arrived."""

from __future__ import annotations

from bisect import bisect
from collections import defaultdict
from itertools import accumulate
from random import Random

from stream.replay.shop.catalogue import Product

AGAIN = 0.03  # chance that an item already seen will do
NEW_BOOST = 2.5  # weight of an item for
NEW_MS = 3 * 24 * 3_600_000  # after its arrival


class Shelves:
    """The products by what they are, drawn by popularity among those that have arrived."""

    def __init__(self, products: list[Product]) -> None:
        self._by_look: defaultdict[tuple[str, str], list[Product]] = defaultdict(list)
        self._by_style: defaultdict[str, list[Product]] = defaultdict(list)
        self._by_category: defaultdict[str, list[Product]] = defaultdict(list)
        self._all = products
        self._cumulated = list(accumulate(product.popularity for product in products))
        for product in products:
            self._by_look[product.category, product.style].append(product)
            self._by_style[product.style].append(product)
            self._by_category[product.category].append(product)

    def draw(self, look: tuple[str, str], ts_ms: int, seen: set[str], rng: Random) -> Product:
        """A product of this look; of its style, then of its category, then any, when nothing new is left."""
        passed_over: set[str] = set() if rng.random() < AGAIN else seen
        category, style = look
        for shelf in (self._by_look[look], self._by_style[style], self._by_category[category], self._all):
            weights = [_appeal(product, ts_ms, passed_over) for product in shelf]
            if any(weights):
                return rng.choices(shelf, weights)[0]
        return self.draw_any(ts_ms, rng)

    def draw_any(self, ts_ms: int, rng: Random) -> Product:
        """What sells, whatever it is."""
        while True:
            product = self._all[bisect(self._cumulated, rng.random() * self._cumulated[-1])]
            if product.arrival_ms <= ts_ms:
                return product


def _appeal(product: Product, ts_ms: int, passed_over: set[str]) -> float:
    if product.arrival_ms > ts_ms or product.item_id in passed_over:
        return 0.0
    return product.popularity * (NEW_BOOST if ts_ms - product.arrival_ms < NEW_MS else 1.0)
