"""Patterns printed on products, one per style, as masks: white where the accent colour goes."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import cos, pi, sin
from random import Random

from PIL import Image, ImageDraw

from stream.replay.shop.sketch import OVERSAMPLING, UNITS

_INK = 255
_Pen = ImageDraw.ImageDraw


@lru_cache(maxsize=64)
def pattern(name: str, px: int) -> Image.Image:
    """The pattern's mask (L, px x px).

    Raises:
        KeyError: not one of PATTERNS.
    """
    size = px * OVERSAMPLING
    mask = Image.new("L", (size, size), 0)
    PATTERNS[name](ImageDraw.Draw(mask), size / UNITS)
    return mask.reduce(OVERSAMPLING)


def _plain(pen: _Pen, scale: float) -> None:
    """Nothing: the material speaks."""


def _stripes(pen: _Pen, scale: float) -> None:
    for y in range(0, UNITS, 8):
        pen.rectangle([0, y * scale, UNITS * scale, (y + 3.2) * scale], fill=_INK)


def _rings(pen: _Pen, scale: float) -> None:
    for x in range(0, UNITS + 12, 12):
        for y in range(0, UNITS + 12, 12):
            for radius, fill in ((5.2, _INK), (3.4, 0), (1.7, _INK)):
                box = [(x - radius) * scale, (y - radius) * scale, (x + radius) * scale, (y + radius) * scale]
                pen.ellipse(box, fill=fill)


def _grid(pen: _Pen, scale: float) -> None:
    for place in range(0, UNITS, 7):
        pen.line([place * scale, 0, place * scale, UNITS * scale], fill=_INK, width=round(scale * 0.8))
        pen.line([0, place * scale, UNITS * scale, place * scale], fill=_INK, width=round(scale * 0.8))


def _leaves(pen: _Pen, scale: float) -> None:
    rng = Random("leaves")
    for row in range(0, UNITS, 11):
        for column in range(0, UNITS, 11):
            turn = rng.uniform(0, 2 * pi)
            x, y = column + 5.5 * (row // 11 % 2), row + 4
            tip = (5.2 * cos(turn), 5.2 * sin(turn))
            side = (-2.1 * sin(turn), 2.1 * cos(turn))
            corners = [tip, side, (-tip[0], -tip[1]), (-side[0], -side[1])]
            pen.polygon([((x + dx) * scale, (y + dy) * scale) for dx, dy in corners], fill=_INK)


def _dots(pen: _Pen, scale: float) -> None:
    for row in range(0, UNITS, 7):
        for column in range(0, UNITS, 9):
            x, y = column + 4.5 * (row // 7 % 2), row + 2
            pen.ellipse([(x - 2) * scale, (y - 2) * scale, (x + 2) * scale, (y + 2) * scale], fill=_INK)


def _stars(pen: _Pen, scale: float) -> None:
    rng = Random("stars")
    for row in range(4, UNITS, 10):
        for column in range(4, UNITS, 10):
            x, y = column + rng.uniform(-3, 3), row + rng.uniform(-3, 3)
            outer = rng.uniform(1.6, 3.4)
            points = [
                ((x + radius * sin(step * pi / 4)) * scale, (y - radius * cos(step * pi / 4)) * scale)
                for step, radius in enumerate((outer, outer * 0.32) * 4)
            ]
            pen.polygon(points, fill=_INK)


def _zigzag(pen: _Pen, scale: float) -> None:
    for top in range(0, UNITS, 11):
        teeth = [(x * scale, (top + 5 * (x // 5 % 2)) * scale) for x in range(0, UNITS + 5, 5)]
        pen.line(teeth, fill=_INK, width=round(2.4 * scale))


def _waves(pen: _Pen, scale: float) -> None:
    for top in range(-10, UNITS, 10):
        crest = [(x * scale, (top + 3 * sin(x / 5) + x * 0.12) * scale) for x in range(UNITS + 1)]
        pen.line(crest, fill=_INK, width=round((2 + top % 3) * scale))


PATTERNS: dict[str, Callable[[_Pen, float], None]] = {
    "plain": _plain,
    "stripes": _stripes,
    "rings": _rings,
    "grid": _grid,
    "leaves": _leaves,
    "dots": _dots,
    "stars": _stars,
    "zigzag": _zigzag,
    "waves": _waves,
}
