"""A small drawing board for products: coordinates 0 to 100, smooth edges, and a mask of where cloth goes.

Shapes are drawn large and reduced once, which is what makes their edges smooth.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import cos, radians, sin

from PIL import Image, ImageDraw

from stream.replay.shop.styles import Colour

OVERSAMPLING = 3
UNITS = 100
_SMOOTH_STEPS = 10
_CLOTH, _NO_CLOTH = 255, 0
Point = tuple[float, float]

WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)
WOOD: Colour = (196, 148, 100)


@dataclass(frozen=True)
class Ink:
    """The colours of one item."""

    main: Colour
    accent: Colour
    dark: Colour

    @property
    def light(self) -> Colour:
        """The main colour in the light."""
        return tinted(self.main, WHITE, 0.35)

    @property
    def deep(self) -> Colour:
        """The main colour in the shade."""
        return tinted(self.main, BLACK, 0.25)


class Sketch:
    """One product on a transparent ground.

    Args:
        px: width and height of the finished picture.
    """

    def __init__(self, px: int) -> None:
        self._px = px
        size = px * OVERSAMPLING
        self._scale = size / UNITS
        self._layer = Image.new("RGBA", (size, size), (0, 0, 0, 0))
        self._cloth = Image.new("L", (size, size), _NO_CLOTH)
        self._draw = ImageDraw.Draw(self._layer)
        self._cloth_draw = ImageDraw.Draw(self._cloth)

    def finished(self) -> tuple[Image.Image, Image.Image]:
        """The product (RGBA) and where a pattern may show (L), in the size asked for."""
        return self._layer.reduce(OVERSAMPLING), self._cloth.reduce(OVERSAMPLING)

    def polygon(self, points: Iterable[Point], fill: Colour, *, cloth: bool = False) -> None:
        """A filled shape with corners."""
        corners = [(x * self._scale, y * self._scale) for x, y in points]
        self._draw.polygon(corners, fill=fill)
        self._cloth_draw.polygon(corners, fill=_CLOTH if cloth else _NO_CLOTH)

    def blob(self, points: Sequence[Point], fill: Colour, *, cloth: bool = False) -> None:
        """A filled shape whose outline runs smoothly through the points."""
        self.polygon(smooth(points), fill, cloth=cloth)

    def ellipse(self, centre: Point, radius: Point, fill: Colour, *, cloth: bool = False) -> None:
        """A filled ellipse."""
        box = self._box(centre, radius)
        self._draw.ellipse(box, fill=fill)
        self._cloth_draw.ellipse(box, fill=_CLOTH if cloth else _NO_CLOTH)

    def ring(self, centre: Point, radius: Point, fill: Colour, *, width: float) -> None:
        """An ellipse's outline, drawn inwards."""
        self._draw.ellipse(self._box(centre, radius), outline=fill, width=self._width(width))

    def arc(self, centre: Point, radius: Point, fill: Colour, *, degrees: tuple[float, float], width: float) -> None:
        """A part of an ellipse's outline with round ends; degrees run clockwise from three o'clock."""
        start, end = degrees
        n_steps = max(2, int(abs(end - start) / 6))
        turns = [radians(start + (end - start) * step / n_steps) for step in range(n_steps + 1)]
        self.line(
            [(centre[0] + radius[0] * cos(turn), centre[1] + radius[1] * sin(turn)) for turn in turns],
            fill,
            width=width,
        )

    def line(self, points: Sequence[Point], fill: Colour, *, width: float) -> None:
        """A line through the points, with round ends and joints."""
        ends = [(x * self._scale, y * self._scale) for x, y in points]
        self._draw.line(ends, fill=fill, width=self._width(width), joint="curve")
        self._cloth_draw.line(ends, fill=_NO_CLOTH, width=self._width(width), joint="curve")
        radius = width / 2
        for point in (points[0], points[-1]):
            self.ellipse(point, (radius, radius), fill)

    def box(self, corner: Point, size: Point, fill: Colour, *, radius: float = 0.0, cloth: bool = False) -> None:
        """A rectangle with rounded corners."""
        (x, y), (width, height) = corner, size
        place = [value * self._scale for value in (x, y, x + width, y + height)]
        self._draw.rounded_rectangle(place, radius * self._scale, fill=fill)
        self._cloth_draw.rounded_rectangle(place, radius * self._scale, fill=_CLOTH if cloth else _NO_CLOTH)

    def _box(self, centre: Point, radius: Point) -> list[float]:
        (x, y), (width, height) = centre, radius
        return [value * self._scale for value in (x - width, y - height, x + width, y + height)]

    def _width(self, width: float) -> int:
        return max(1, round(width * self._scale))


def smooth(points: Sequence[Point]) -> list[Point]:
    """A closed Catmull-Rom curve through the points."""
    n_points = len(points)
    curve: list[Point] = []
    for place in range(n_points):
        before, start, end, after = (points[(place + shift) % n_points] for shift in (-1, 0, 1, 2))
        for step in range(_SMOOTH_STEPS):
            t = step / _SMOOTH_STEPS
            curve.append(
                (
                    _between((before[0], start[0], end[0], after[0]), t),
                    _between((before[1], start[1], end[1], after[1]), t),
                )
            )
    return curve


def turned(points: Iterable[Point], degrees: float, centre: Point) -> list[Point]:
    """The points turned clockwise about the centre."""
    turn = radians(degrees)
    return [
        (
            centre[0] + (x - centre[0]) * cos(turn) - (y - centre[1]) * sin(turn),
            centre[1] + (x - centre[0]) * sin(turn) + (y - centre[1]) * cos(turn),
        )
        for x, y in points
    ]


def tinted(colour: Colour, towards: Colour, share: float) -> Colour:
    """A colour moved towards another; share 0 is itself, 1 the other.

    >>> tinted((0, 0, 0), (200, 100, 50), 0.5)
    (100, 50, 25)
    """
    red, green, blue = (round(ours + (theirs - ours) * share) for ours, theirs in zip(colour, towards, strict=True))
    return red, green, blue


def _between(values: tuple[float, float, float, float], t: float) -> float:
    before, start, end, after = values
    return 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )
