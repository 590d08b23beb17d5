"""How the products for the home are drawn: a sketch, its colours, and a seeded generator for the details."""

from __future__ import annotations

from math import sin
from random import Random

from stream.replay.shop.sketch import BLACK, WHITE, WOOD, Ink, Sketch, tinted, turned
from stream.replay.shop.styles import Colour

GLOW: Colour = (255, 244, 196)
LEAF: Colour = (84, 146, 88)
COCOA: Colour = (112, 74, 50)


def draw_lamp(sketch: Sketch, ink: Ink, rng: Random) -> None:
    """A table lamp or a desk lamp."""
    if rng.random() < 0.5:
        _table_lamp(sketch, ink, rng)
    else:
        _desk_lamp(sketch, ink, rng)


def _table_lamp(sketch: Sketch, ink: Ink, rng: Random) -> None:
    top, flare = rng.uniform(10, 15), rng.uniform(22, 27)
    sketch.ellipse((50, 84), (17, 3.5), ink.dark)
    if rng.random() < 0.5:
        sketch.line([(50, 50), (50, 83)], ink.dark, width=3.2)
    else:
        sketch.blob([(47, 52), (53, 52), (60, 68), (54, 82), (46, 82), (40, 68)], ink.accent)
    sketch.ellipse((50, 51), (flare - 4, 4), GLOW)
    sketch.polygon([(50 - top, 18), (50 + top, 18), (50 + flare, 51), (50 - flare, 51)], ink.main, cloth=True)
    sketch.line([(50 - flare, 51), (50 + flare, 51)], ink.light, width=1.6)
    sketch.line([(50 - top, 18), (50 + top, 18)], ink.deep, width=1.4)


def _desk_lamp(sketch: Sketch, ink: Ink, rng: Random) -> None:
    bend = rng.uniform(28, 34)
    sketch.box((26, 80), (32, 5), ink.dark, radius=2.5)
    sketch.line([(42, 80), (bend, 48), (56, 24)], ink.accent, width=3.2)
    sketch.ellipse((bend, 48), (3.4, 3.4), ink.dark)
    shade = [(52, 17), (62, 22), (82, 44), (56, 50), (50, 30)]
    sketch.ellipse((70, 49), (7.5, 7), GLOW)
    sketch.polygon(shade, ink.main, cloth=True)
    sketch.line([(56, 50), (82, 44)], ink.light, width=2.2)
    sketch.ellipse((56, 21), (4, 4), ink.deep)


def draw_mug(sketch: Sketch, ink: Ink, rng: Random) -> None:
    """A mug, often steaming."""
    half, taper = rng.uniform(20, 25), rng.uniform(0, 6)
    top = rng.uniform(30, 38)
    sketch.ring((46 + half, 58), (14, 15), ink.deep, width=5)
    sketch.polygon(
        [(46 - half, top), (46 + half, top), (46 + half - taper, 80), (46 - half + taper, 80)],
        ink.main,
        cloth=True,
    )
    sketch.ellipse((46, 80), (half - taper, 4.5), ink.main, cloth=True)
    sketch.ellipse((46, top), (half, 5.5), ink.light)
    sketch.ellipse((46, top + 0.8), (half - 3, 3.8), (112, 74, 50))
    if rng.random() < 0.6:
        for x in (38, 46, 54):
            steam = [(x + 2.5 * sin(step / 2), top - 9 - 2 * step) for step in range(7)]
            sketch.line(steam, tinted(ink.accent, WHITE, 0.5), width=1.6)


def draw_chair(sketch: Sketch, ink: Ink, rng: Random) -> None:
    """A dining chair or an armchair."""
    if rng.random() < 0.5:
        _dining_chair(sketch, ink, rng)
    else:
        _armchair(sketch, ink, rng)


def _dining_chair(sketch: Sketch, ink: Ink, rng: Random) -> None:
    legs = tinted(WOOD, ink.dark, rng.choice((0.0, 0.35, 0.7)))
    for top, foot in (((36, 58), (30, 86)), ((64, 58), (70, 86)), ((42, 58), (40, 82)), ((58, 58), (60, 82))):
        sketch.line([top, foot], legs, width=3)
    if rng.random() < 0.5:
        sketch.box((33, 15), (34, 34), ink.main, radius=rng.uniform(6, 16), cloth=True)
        sketch.line([(42, 48), (42, 56)], legs, width=3)
        sketch.line([(58, 48), (58, 56)], legs, width=3)
    else:
        sketch.line([(34, 56), (32, 18)], legs, width=3)
        sketch.line([(66, 56), (68, 18)], legs, width=3)
        for y in (20, 31, 42):
            sketch.box((32, y), (36, 6), ink.main, radius=3, cloth=True)
    sketch.polygon([(32, 54), (68, 54), (73, 64), (27, 64)], ink.main, cloth=True)
    sketch.box((27, 62), (46, 4.5), ink.deep, radius=2)


def _armchair(sketch: Sketch, ink: Ink, rng: Random) -> None:
    legs = tinted(WOOD, ink.dark, 0.4)
    for x in (30, 70):
        sketch.line([(x, 76), (x + (4 if x > 50 else -4), 87)], legs, width=3.4)
    sketch.box((26, rng.uniform(20, 28)), (48, 50), ink.main, radius=rng.uniform(10, 18), cloth=True)
    sketch.box((28, 56), (44, 14), ink.light, radius=5)
    sketch.box((18, 47), (13, 32), ink.deep, radius=6)
    sketch.box((69, 47), (13, 32), ink.deep, radius=6)
    sketch.box((28, 66), (44, 12), ink.main, radius=4, cloth=True)
    if rng.random() < 0.6:
        sketch.polygon(turned([(42, 42), (58, 42), (58, 57), (42, 57)], 12, (50, 50)), ink.accent)


def draw_plant_pot(sketch: Sketch, ink: Ink, rng: Random) -> None:
    """A pot with a cactus or leaves."""
    leaf = tinted(LEAF, rng.choice(((150, 190, 90), (40, 96, 80), LEAF)), 0.7)
    kind = rng.random()
    if kind < 0.35:
        _cactus(sketch, leaf, ink)
    else:
        _leaves(sketch, leaf, rng, n_leaves=rng.randint(7, 9) if kind < 0.7 else 5)
    half, foot = rng.uniform(19, 23), rng.uniform(12, 17)
    sketch.polygon([(50 - half, 58), (50 + half, 58), (50 + foot, 86), (50 - foot, 86)], ink.main, cloth=True)
    sketch.box((50 - half - 3, 54), (2 * half + 6, 8), ink.light, radius=2.5)


def _leaves(sketch: Sketch, leaf: Colour, rng: Random, *, n_leaves: int) -> None:
    for number in range(n_leaves):
        spread = (number / (n_leaves - 1) - 0.5) * 130
        length, width = rng.uniform(32, 42), rng.uniform(5.5, 8.5)
        outline = [(50, 58), (50 - width, 58 - length * 0.55), (50, 58 - length), (50 + width, 58 - length * 0.55)]
        shade = tinted(leaf, WHITE if number % 2 else BLACK, 0.14)
        sketch.blob(turned(outline, spread, (50, 58)), shade)
        rib = turned([(50, 56), (50, 58 - length * 0.85)], spread, (50, 58))
        sketch.line(rib, tinted(leaf, WHITE, 0.35), width=0.8)


def _cactus(sketch: Sketch, leaf: Colour, ink: Ink) -> None:
    sketch.line([(34, 44), (34, 37)], leaf, width=8)
    sketch.line([(34, 45), (48, 47)], leaf, width=8)
    sketch.line([(66, 36), (66, 29)], leaf, width=8)
    sketch.line([(66, 38), (52, 41)], leaf, width=8)
    sketch.box((41.5, 16), (17, 46), leaf, radius=8.5)
    for x in (46, 50, 54):
        sketch.line([(x, 22), (x, 56)], tinted(leaf, WHITE, 0.3), width=0.9)
    for place in ((50, 15), (34, 32), (66, 24)):
        sketch.ellipse(place, (3.2, 2.8), tinted(ink.accent, (255, 120, 150), 0.6))


def draw_kettle(sketch: Sketch, ink: Ink, rng: Random) -> None:
    """A round or a conical kettle."""
    top = rng.uniform(40, 45)
    sketch.arc((49, top), (19, 20), ink.dark, degrees=(180, 360), width=3.6)
    sketch.blob([(66, 62), (74, 50), (83, 42), (88, 43), (84, 52), (74, 70)], ink.deep)
    if rng.random() < 0.5:
        body = [(49, top - 2), (64, top + 4), (73, 64), (70, 80), (49, 84), (28, 80), (25, 64), (34, top + 4)]
        sketch.blob(body, ink.main, cloth=True)
    else:
        sketch.polygon([(35, top), (63, top), (73, 83), (25, 83)], ink.main, cloth=True)
        sketch.box((25, 79), (48, 5.5), ink.deep, radius=2.5)
    sketch.ellipse((49, top + 1), (15, 3.6), ink.light)
    sketch.ellipse((49, top - 4), (4, 3.6), ink.accent)
    sketch.box((31, 83), (36, 3), ink.dark, radius=1.5)
