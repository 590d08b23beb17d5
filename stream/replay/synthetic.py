"""The synthetic shop as a data set: drawn pictures, written descriptions, people whose tastes evolve.

Everything follows from the seed, so the truth behind the stream is known: `tastes_of` a user, and at
`drift_ms` a planted drift, when the style `aurora` is launched and becomes the fashion while the category
`watch` fades. About a seventh of the items arrives during the stream and is cold then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from functools import cached_property
from random import Random

from stream.events import MAX_TS_MS, Interaction
from stream.replay.rows import BadRows, ItemRow
from stream.replay.shop.catalogue import Arrivals, Product, make_products, picture_of, upsert_of
from stream.replay.shop.shelves import Shelves
from stream.replay.shop.shoppers import Shopper, Taste, Visit, shares_of_visits
from stream.replay.shop.styles import CATEGORIES, STYLES

DAY_MS = 24 * 3_600_000
MIN_ITEMS = len(CATEGORIES) * (len(STYLES) - 1)  # every category in every style there is at the start
MIN_PX, MAX_PX = 32, 1_024


@dataclass(frozen=True)
class SyntheticConfig:
    """How large the shop is and how long it is watched.

    Attributes:
        seed: decides everything.
        n_items: in the whole catalogue, at least MIN_ITEMS.
        n_users: at least 1.
        n_interactions: at least 2 per user.
        n_days: simulated, at least 5.
        end_ms: when the stream ends, milliseconds since 1970; by default the start of 2025-07-01 UTC.
        late_share: share of the items that arrives after the start, 0 to 0.5; half of them in the trend style.
        drift_share: share of the simulated time before the drift, 0.1 to 0.8.
        picture_px: width and height of pictures, 32 to 1024.
    """

    seed: int = 0
    n_items: int = 600
    n_users: int = 1_500
    n_interactions: int = 40_000
    n_days: int = 30
    end_ms: int = 1_751_328_000_000
    late_share: float = 0.15
    drift_share: float = 0.6
    picture_px: int = 192

    def __post_init__(self) -> None:
        _check("n_items", self.n_items, MIN_ITEMS, 100_000)
        _check("n_users", self.n_users, 1, 1_000_000)
        _check("n_interactions", self.n_interactions, 2 * self.n_users, 100_000_000)
        _check("n_days", self.n_days, 5, 3_650)
        _check("end_ms", self.end_ms, self.n_days * DAY_MS, MAX_TS_MS)
        _check("late_share", self.late_share, 0.0, 0.5)
        _check("drift_share", self.drift_share, 0.1, 0.8)
        _check("picture_px", self.picture_px, MIN_PX, MAX_PX)

    @property
    def start_ms(self) -> int:
        """When the stream begins."""
        return self.end_ms - self.n_days * DAY_MS

    @property
    def drift_ms(self) -> int:
        """When the trend style becomes the fashion and the fading category fades."""
        return self.start_ms + int(self.n_days * self.drift_share) * DAY_MS


class SyntheticDataset:
    """The shop of a configuration; made when first asked for, then kept."""

    def __init__(self, config: SyntheticConfig) -> None:
        self.config = config
        digest = hashlib.sha256(repr(astuple(config)).encode()).hexdigest()[:8]
        self.name = f"synthetic-{digest}"  # another configuration has other event ids
        self.bad_rows = BadRows()

    def items(self) -> Iterator[ItemRow]:
        """All items with their pictures, each with the time it arrives."""
        for product in self._products:
            yield self._row(product)

    def interactions(self) -> Iterator[Interaction]:
        """Interactions in the order of time."""
        for number, visit in enumerate(self._shopping[0]):
            yield Interaction(
                event_id=f"{self.name}-{number}",
                user_id=visit.user_id,
                item_id=visit.item_id,
                ts_ms=visit.ts_ms,
                kind=visit.kind,
            )

    def tastes_of(self, user_id: str) -> tuple[Taste, ...]:
        """What the user likes when the stream ends: the truth a good feed shows.

        Raises:
            KeyError: no such user; they are `user-0001` and on.
        """
        return self._shopping[1][user_id]

    def new_item(self, category: str, style: str, n: int) -> ItemRow:
        """A brand-new product that is not in the stream, arriving when the stream ends.

        Args:
            category: one of stream.replay.shop.styles.CATEGORIES.
            style: one of stream.replay.shop.styles.STYLES.
            n: which one, from 0; the same n gives the same item.

        Raises:
            ValueError: no such category or style, or n below 0.
        """
        if category not in CATEGORIES or style not in STYLES or n < 0:
            raise ValueError(
                f"no product for category={category!r}, style={style!r}, n={n}; categories are "
                f"{', '.join(CATEGORIES)}; styles are {', '.join(STYLES)}; n starts at 0"
            )
        number = n * len(STYLES) + list(STYLES).index(style)  # no two styles share one
        return self._row(Product(category, style, number, self.config.end_ms, popularity=1.0, is_new=True))

    def _row(self, product: Product) -> ItemRow:
        item = upsert_of(product, seed=self.config.seed)
        image = picture_of(product, seed=self.config.seed, px=self.config.picture_px)
        return ItemRow(item, image, is_timed=True)

    @cached_property
    def _arrivals(self) -> Arrivals:
        config = self.config
        return Arrivals(config.start_ms, config.end_ms, config.drift_ms, config.late_share)

    @cached_property
    def _products(self) -> list[Product]:
        return make_products(self.config.n_items, self._arrivals, Random(f"{self.config.seed}/products"))

    @cached_property
    def _shopping(self) -> tuple[list[Visit], dict[str, tuple[Taste, ...]]]:
        """All visits in the order of time, and everybody's tastes at the end."""
        config = self.config
        shelves = Shelves(self._products)
        rng = Random(f"{config.seed}/activity")
        visits: list[Visit] = []
        tastes: dict[str, tuple[Taste, ...]] = {}
        for number, n_visits in enumerate(shares_of_visits(config.n_users, config.n_interactions, rng), 1):
            user_id = f"user-{number:04d}"
            shopper = Shopper(user_id, shelves, self._arrivals, Random(f"{config.seed}/{user_id}"))
            visits += shopper.visits(n_visits)
            tastes[user_id] = tuple(shopper.tastes)
        return sorted(visits), tastes


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name}={value} must be between {low} and {high}")
