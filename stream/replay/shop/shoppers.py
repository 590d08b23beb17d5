"""Who buys in the shop: people with tastes that move, browsing in sessions from the product to its accessory.

A taste is a category in a style. A session starts in one of a person's tastes; the next item stays in it, goes
to the complement in the same style (lamp to chair, bicycle to backpack), to another taste, or to whatever sells.
From the day of the drift on many turn to the trend style, and few still look at the fading category.
"""

from __future__ import annotations

from itertools import accumulate
from random import Random
from typing import NamedTuple

from stream.replay.shop.catalogue import Arrivals, Product
from stream.replay.shop.shelves import Shelves
from stream.replay.shop.styles import CATEGORIES, COMPLEMENTS, FADING_CATEGORY, STYLES, TREND_STYLE

SAME_LOOK, COMPLEMENT, OTHER_TASTE = 0.40, 0.40, 0.12  # what comes next; the rest is what sells
STICKINESS = 0.5  # a session begins where the last one ended
RESTLESS = 0.12  # a taste changes between two sessions
FOLLOWS_TREND = 0.15  # a taste turns to the trend style, before each session after the drift
LEAVES_FADING = 0.60
MEAN_SESSION = 6
JOINS_LATE = 0.35  # share of users who were not there at the start
_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_GAP_MS = 40_000  # mean between two events of a session
_KINDS = (("click", 0.70), ("view", 0.82), ("like", 0.92), ("purchase", 1.0))  # cumulated shares
_HOURS = (8, 9, 12, 13, 17, 18, 19, 19, 20, 20, 21, 21, 22)  # when people browse


class Taste(NamedTuple):
    """What a person likes, and how much of the time."""

    category: str
    style: str
    weight: float


class Visit(NamedTuple):
    """One interaction, before it has an id."""

    ts_ms: int
    user_id: str
    item_id: str
    kind: str


class Shopper:
    """One person from the first session to the last.

    Args:
        user_id: of this person.
        shelves: what there is to buy.
        arrivals: the simulated time and the moment of the drift.
        rng: decides everything this person does.
    """

    def __init__(self, user_id: str, shelves: Shelves, arrivals: Arrivals, rng: Random) -> None:
        self._user_id = user_id
        self._shelves = shelves
        self._arrivals = arrivals
        self._rng = rng
        self._seen: set[str] = set()
        self.tastes = [_new_taste(rng) for _ in range(rng.choice((1, 2, 2, 3)))]

    def visits(self, n_visits: int) -> list[Visit]:
        """All interactions, in the order of time; `tastes` are afterwards what they ended as."""
        visits: list[Visit] = []
        taste = self.tastes[0]
        for start_ms, n_steps in self._sessions(n_visits):
            self._evolve(start_ms)
            if taste not in self.tastes or self._rng.random() > STICKINESS:
                taste = self._any_taste()
            free_ms = visits[-1].ts_ms + 1 if visits else 0
            visits += self._session(taste, max(start_ms, free_ms), n_steps)
        return visits

    def _session(self, taste: Taste, ts_ms: int, n_steps: int) -> list[Visit]:
        visits: list[Visit] = []
        look = (taste.category, taste.style)
        for step in range(n_steps):
            product = self._next(look, ts_ms) if step else self._shelves.draw(look, ts_ms, self._seen, self._rng)
            self._seen.add(product.item_id)
            visits.append(Visit(ts_ms, self._user_id, product.item_id, self._kind()))
            look = (product.category, product.style)
            ts_ms += 1_000 + int(self._rng.expovariate(1 / _GAP_MS))
        return visits

    def _next(self, look: tuple[str, str], ts_ms: int) -> Product:
        chance = self._rng.random()
        category, style = look
        if chance < SAME_LOOK:
            wanted = look
        elif chance < SAME_LOOK + COMPLEMENT:
            wanted = (COMPLEMENTS[category], style)
        elif chance < SAME_LOOK + COMPLEMENT + OTHER_TASTE:
            taste = self._any_taste()
            wanted = (taste.category, taste.style)
        else:
            return self._shelves.draw_any(ts_ms, self._rng)
        if self._is_faded(wanted[0], ts_ms):
            wanted = (COMPLEMENTS[wanted[0]], wanted[1])
        return self._shelves.draw(wanted, ts_ms, self._seen, self._rng)

    def _evolve(self, ts_ms: int) -> None:
        """Tastes wander a little, and after the drift towards the fashion."""
        self.tastes = [self._evolved(taste, ts_ms) for taste in self.tastes]

    def _evolved(self, taste: Taste, ts_ms: int) -> Taste:
        if self._rng.random() < RESTLESS:
            taste = _moved(taste, self._rng)
        if ts_ms >= self._arrivals.drift_ms and self._rng.random() < FOLLOWS_TREND:
            taste = taste._replace(style=TREND_STYLE)
        if self._is_faded(taste.category, ts_ms):
            taste = taste._replace(category=COMPLEMENTS[taste.category])
        return taste

    def _is_faded(self, category: str, ts_ms: int) -> bool:
        is_out = category == FADING_CATEGORY and ts_ms >= self._arrivals.drift_ms
        return is_out and self._rng.random() < LEAVES_FADING

    def _any_taste(self) -> Taste:
        return self._rng.choices(self.tastes, [taste.weight for taste in self.tastes])[0]

    def _kind(self) -> str:
        chance = self._rng.random()
        return next(kind for kind, share in _KINDS if chance < share)

    def _sessions(self, n_visits: int) -> list[tuple[int, int]]:
        """Start and length of each session; together n_visits long."""
        lengths: list[int] = []
        while sum(lengths) < n_visits:
            length = 2 + int(self._rng.expovariate(1 / (MEAN_SESSION - 2)))
            lengths.append(min(length, n_visits - sum(lengths)))
        first_ms, last_ms = self._arrivals.start_ms, self._arrivals.end_ms - _DAY_MS
        if self._rng.random() < JOINS_LATE:
            first_ms = self._rng.randrange(first_ms, last_ms)
        starts = sorted(self._moment(first_ms, last_ms) for _ in lengths)
        return list(zip(starts, lengths, strict=True))

    def _moment(self, first_ms: int, last_ms: int) -> int:
        """Some day between, at an hour when people browse."""
        day_ms = self._rng.randrange(first_ms, last_ms) // _DAY_MS * _DAY_MS
        return day_ms + self._rng.choice(_HOURS) * _HOUR_MS + self._rng.randrange(_HOUR_MS)


def shares_of_visits(n_users: int, n_interactions: int, rng: Random) -> list[int]:
    """How many interactions each user has, at least 2: a few have many, most have some."""
    weights = [rng.lognormvariate(0, 0.8) for _ in range(n_users)]
    scale = (n_interactions - 2 * n_users) / sum(weights)
    edges = [round(total * scale) for total in accumulate(weights)]
    return [2 + end - start for start, end in zip([0, *edges], edges, strict=False)]


def _new_taste(rng: Random) -> Taste:
    styles = [name for name in STYLES if name != TREND_STYLE]
    return Taste(rng.choice(CATEGORIES), rng.choice(styles), round(rng.uniform(0.3, 1.0), 2))


def _moved(taste: Taste, rng: Random) -> Taste:
    """The same style in the complement's category, or the same category in another style."""
    if rng.random() < 0.5:
        return taste._replace(category=COMPLEMENTS[taste.category])
    return taste._replace(style=_new_taste(rng).style)
