"""The shop's items: what they are, when they arrive, how well they sell."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from stream.events import ItemUpsert
from stream.replay.shop.pictures import draw
from stream.replay.shop.styles import CATEGORIES, STYLES, TREND_STYLE
from stream.replay.shop.words import description_of, name_of, title_of

_HEAVY_TAIL = 0.7  # exponent of popularity over rank within a category


@dataclass(frozen=True)
class Product:
    """One item, before words and picture.

    Attributes:
        category, style: the truth that text and picture show.
        number: within its category, from 0.
        is_new: made on request, not of the catalogue.
        arrival_ms: when it appears.
        popularity: relative, above 0.
    """

    category: str
    style: str
    number: int
    arrival_ms: int
    popularity: float
    is_new: bool = False

    @property
    def item_id(self) -> str:
        """Category and number."""
        prefix = "new-" if self.is_new else ""
        return f"{prefix}{self.category.replace(' ', '-')}-{self.number + 1:03d}"


@dataclass(frozen=True)
class Arrivals:
    """When items appear.

    Attributes:
        start_ms, end_ms: of the simulated time; most items are there at the start.
        drift_ms: when the trend style is launched; all its items come shortly before or after.
        late_share: of all items, those that arrive after the start.
    """

    start_ms: int
    end_ms: int
    drift_ms: int
    late_share: float


def make_products(n_items: int, arrivals: Arrivals, rng: Random) -> list[Product]:
    """The catalogue: every category and style alike, a part of it late, the trend style only late."""
    n_late = round(n_items * arrivals.late_share)
    n_trend = n_late // 2
    styles = [name for name in STYLES if name != TREND_STYLE]
    kinds = [(category, style) for style in styles for category in CATEGORIES]
    looks = [(category, TREND_STYLE) for category in CATEGORIES]
    chosen = [kinds[place % len(kinds)] for place in range(n_items - n_trend)]
    late = set(rng.sample(range(len(chosen)), n_late - n_trend))
    chosen += [looks[place % len(looks)] for place in range(n_trend)]
    numbers = dict.fromkeys(CATEGORIES, 0)
    products: list[Product] = []
    for place, (category, style) in enumerate(chosen):
        arrival_ms = _arrival_ms(arrivals, style, is_late=place in late, rng=rng)
        popularity = (1 + rng.randrange(30)) ** -_HEAVY_TAIL
        products.append(Product(category, style, numbers[category], arrival_ms, popularity))
        numbers[category] += 1
    return products


def upsert_of(product: Product, *, seed: int) -> ItemUpsert:
    """Title, description and attributes of a product, as they go onto the log."""
    rng = Random(f"{seed}/words/{product.item_id}")
    return ItemUpsert(
        item_id=product.item_id,
        ts_ms=product.arrival_ms,
        title=title_of(
            product.category,
            product.style,
            name=name_of(product.number, is_new=product.is_new),
            rng=rng,
        ),
        text=description_of(product.category, product.style, rng),
        attributes={"category": product.category, "style": product.style},
    )


def picture_of(product: Product, *, seed: int, px: int) -> bytes:
    """A product's picture as JPEG."""
    return draw(product.category, product.style, seed=f"{seed}/picture/{product.item_id}", px=px)


def _arrival_ms(arrivals: Arrivals, style: str, *, is_late: bool, rng: Random) -> int:
    span_ms = arrivals.end_ms - arrivals.start_ms
    if style == TREND_STYLE:
        lead_ms = span_ms // 30
        return rng.randrange(arrivals.drift_ms - lead_ms, arrivals.drift_ms + 3 * lead_ms)
    if is_late:
        return rng.randrange(arrivals.start_ms + span_ms // 30, arrivals.end_ms - span_ms // 30)
    return arrivals.start_ms
