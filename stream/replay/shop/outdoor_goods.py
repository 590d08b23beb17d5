"""How the products for the way are drawn: a sketch, its colours, and a seeded generator for the details."""

from __future__ import annotations

from math import cos, pi, sin
from random import Random

from stream.replay.shop.sketch import BLACK, WHITE, WOOD, Ink, Point, Sketch, tinted, turned


def draw_backpack(sketch: Sketch, ink: Ink, rng: Random) -> None:
    """A backpack with a flap or a zip."""
    width = rng.uniform(23, 28)
    sketch.arc((50, 22), (9, 8), ink.dark, degrees=(180, 360), width=3)
    for side in (-1, 1):
        sketch.box((50 + side * width - 4, 44), (8, 32), ink.deep, radius=4)
    sketch.box((50 - width, 20), (2 * width, 65), ink.main, radius=16, cloth=True)
    if rng.random() < 0.5:
        sketch.box((50 - width, 20), (2 * width, 26), ink.deep, radius=13)
        for x in (42, 58):
            sketch.box((x - 2, 38), (4, 16), ink.accent, radius=1.5)
            sketch.box((x - 2.8, 48), (5.6, 5), ink.dark, radius=1)
    else:
        sketch.arc((50, 42), (width - 5, 15), ink.accent, degrees=(180, 360), width=1.6)
    sketch.box((50 - width + 6, 57), (2 * width - 12, 22), ink.light, radius=6)
    sketch.line([(50 - width + 10, 63), (50 + width - 10, 63)], ink.dark, width=1.4)
    sketch.box((47.5, 63), (3, 6), ink.accent, radius=1.5)


def draw_shoe(sketch: Sketch, ink: Ink, rng: Random) -> None:
    """A low or high sneaker from the side."""
    high = rng.uniform(30, 36) if rng.random() < 0.4 else rng.uniform(40, 45)
    upper = [(18, 74), (16, 56), (20, high), (38, high - 1), (46, 50), (62, 57), (78, 60), (87, 66), (88, 76), (60, 77)]
    sketch.blob(upper, ink.main, cloth=True)
    sketch.blob([(71, 60), (79, 60.5), (87, 66), (88, 76), (80, 78), (71, 77), (68, 68)], ink.light)
    sketch.ellipse((29, high + 0.5), (9, 3), ink.dark)
    sketch.box((17, high + 8), (7, 24), ink.deep, radius=3)
    for step in range(4):
        x, y = 41 + 6.2 * step, 47 + 4.1 * step
        sketch.line([(x - 3.5, y + 6), (x + 2.5, y)], tinted(ink.accent, WHITE, 0.35), width=2)
    sketch.blob([(34, 70), (44, 62), (56, 66), (44, 69)], ink.accent)
    sketch.box((13, 74), (76, 10), tinted(ink.accent, WHITE, 0.7), radius=5)
    sketch.box((13, 80), (76, 4.5), ink.dark, radius=2.2)


def draw_guitar(sketch: Sketch, ink: Ink, rng: Random) -> None:
    """An acoustic or an electric guitar."""
    tilt, centre = rng.uniform(18, 30), (50, 52)
    waist = rng.uniform(9, 11)
    body = [(50, 44), (61, 46), (65, 54), (52 + waist, 62), (69, 71), (67, 85), (50, 91)]
    body += [(100 - x, y) for x, y in reversed(body[1:-1])]
    electric = rng.random() < 0.4
    if electric:
        body[0], body[1], body[-1] = (50, 51), (67, 39), (34, 43)
    sketch.polygon(turned([(47.8, 14), (52.2, 14), (52.6, 56), (47.4, 56)], tilt, centre), WOOD)
    head = turned([(46, 3), (54, 3), (53, 15), (47, 15)], tilt, centre)
    sketch.polygon(head, ink.dark)
    for side in (-6, 6):
        for y in (6, 10):
            sketch.ellipse(turned([(50 + side, y)], tilt, centre)[0], (1.5, 1.5), ink.accent)
    sketch.blob(turned(body, tilt, centre), ink.main, cloth=True)
    hole = turned([(50, 64)], tilt, centre)[0]
    if electric:
        for y in (61, 68):
            sketch.polygon(
                turned([(44, y), (56, y), (56, y + 3.6), (44, y + 3.6)], tilt, centre), tinted(ink.dark, BLACK, 0.3)
            )
    else:
        sketch.ellipse(hole, (6.4, 6.4), ink.accent)
        sketch.ellipse(hole, (4.9, 4.9), tinted(ink.dark, BLACK, 0.4))
    sketch.polygon(turned([(42, 77), (58, 77), (58, 80), (42, 80)], tilt, centre), ink.dark)
    sketch.polygon(turned([(47.4, 15), (52.6, 15), (52.6, 56), (47.4, 56)], tilt, centre), tinted(WOOD, BLACK, 0.45))
    for x in (48.6, 50, 51.4):
        sketch.line(turned([(x, 14), (x, 78)], tilt, centre), (235, 230, 220), width=0.5)


def draw_watch(sketch: Sketch, ink: Ink, rng: Random) -> None:
    """A round or a square watch."""
    strap = rng.uniform(9, 11.5)
    sketch.polygon(
        [(50 - strap + 2, 10), (50 + strap - 2, 10), (50 + strap, 34), (50 - strap, 34)], ink.main, cloth=True
    )
    sketch.polygon(
        [(50 - strap, 64), (50 + strap, 64), (50 + strap - 2, 90), (50 - strap + 2, 90)], ink.main, cloth=True
    )
    for y in (74, 79, 84):
        sketch.ellipse((50, y), (1.1, 1.1), ink.dark)
    face, metal = tinted(ink.accent, WHITE, 0.75), tinted(ink.accent, ink.dark, 0.3)
    sketch.box((70, 47), (6, 5), metal, radius=1.5)
    if rng.random() < 0.6:
        sketch.ellipse((50, 49.5), (22, 22), metal)
        sketch.ellipse((50, 49.5), (18, 18), face)
    else:
        sketch.box((29, 28), (42, 43), metal, radius=10)
        sketch.box((33, 32), (34, 35), face, radius=7)
    for hour in range(12):
        turn = hour * pi / 6
        inner, outer = 13.6, 15.8
        sketch.line([(50 + r * sin(turn), 49.5 - r * cos(turn)) for r in (inner, outer)], ink.dark, width=0.9)
    for length, width in ((8.5, 2.2), (12.5, 1.4)):
        turn = rng.uniform(0, 2 * pi)
        sketch.line([(50, 49.5), (50 + length * sin(turn), 49.5 - length * cos(turn))], ink.dark, width=width)
    sketch.ellipse((50, 49.5), (2, 2), ink.main)


def draw_jacket(sketch: Sketch, ink: Ink, rng: Random) -> None:
    """A jacket, with a hood or without."""
    hem, flare = rng.uniform(78, 86), rng.uniform(0, 3)
    for side in (-1, 1):
        sleeve = [(50 + side * x, y) for x, y in ((17, 22), (26, 27), (35 + flare, 68), (26 + flare, 72), (18, 46))]
        sketch.polygon(sleeve, ink.deep)
        cuff = [
            (50 + side * x, y)
            for x, y in ((34.4 + flare, 65), (35.4 + flare, 69), (26.4 + flare, 73), (25.2 + flare, 69))
        ]
        sketch.polygon(cuff, ink.accent)
    torso = [(41, 18), (59, 18), (73, 24), (71, hem), (29, hem), (27, 24)]
    sketch.polygon(torso, ink.main, cloth=True)
    sketch.polygon([(42, 18), (58, 18), (50, 34)], tinted(ink.dark, BLACK, 0.1))
    if rng.random() < 0.5:
        sketch.arc((50, 18), (11, 9), ink.light, degrees=(180, 360), width=5)
    for side in (-1, 1):
        collar = [(50 + side * x, y) for x, y in ((7, 16), (12, 19), (9, 31), (1, 35))]
        sketch.polygon(collar, ink.light)
        pocket = [(50 + side * x, y) for x, y in ((8, hem - 20), (17, hem - 23))]
        sketch.line(pocket, ink.dark, width=1.5)
    sketch.line([(50, 35), (50, hem)], ink.dark, width=1.4)
    if rng.random() < 0.5:
        for step in range(4):
            sketch.ellipse((53, 42 + step * (hem - 48) / 3.4), (1.6, 1.6), ink.accent)
    sketch.box((29, hem - 4), (42, 4.5), ink.deep, radius=1.5)


def draw_headphones(sketch: Sketch, ink: Ink, rng: Random) -> None:
    """Headphones, round or oval."""
    spread, height = rng.uniform(26, 29), rng.uniform(34, 39)
    sketch.arc((50, 54), (spread, height), ink.dark, degrees=(180, 360), width=4)
    sketch.arc((50, 54), (spread - 1.6, height - 2.4), ink.accent, degrees=(215, 325), width=5.5)
    for side in (-1, 1):
        x = 50 + side * spread
        sketch.box((x - side * 8 - 6, 49), (12, 30), tinted(ink.dark, BLACK, 0.2), radius=6)
        if rng.random() < 0.5:
            sketch.box((x - 7.5, 47), (15, 34), ink.main, radius=7.5, cloth=True)
        else:
            sketch.ellipse((x, 64), (10, 17), ink.main, cloth=True)
        sketch.ellipse((x + side * 1.5, 64), (3.6, 7), ink.light)
        sketch.ellipse((x + side * 1.5, 64), (1.8, 3.8), ink.accent)


def draw_bicycle(sketch: Sketch, ink: Ink, rng: Random) -> None:
    """A bicycle, some with a basket."""
    radius, wheel_y = rng.uniform(16, 18), 66
    rear, front = (27.0, float(wheel_y)), (73.0, float(wheel_y))
    for wheel in (rear, front):
        _wheel(sketch, ink, wheel, radius)
    pedals, saddle, head = (47.0, 66.0), (41.0, 41.0), (66.0, 40.0)
    if rng.random() < 0.35:
        sketch.line([head, (60, 56), pedals], ink.main, width=3.4)
    else:
        sketch.line([saddle, head, pedals], ink.main, width=3.2)
    sketch.line([rear, pedals, saddle], ink.main, width=3.2)
    sketch.line([rear, saddle], ink.main, width=2.6)
    sketch.line([(64.5, 34), head, front], ink.deep, width=3.2)
    sketch.line([saddle, (39.5, 34)], ink.dark, width=2.4)
    sketch.blob([(31, 31), (40, 30), (47, 32), (41, 35.5), (33, 35)], ink.dark)
    sketch.line([(59, 31), (64.5, 33), (71, 30)], ink.dark, width=2.6)
    sketch.ellipse(pedals, (4.2, 4.2), ink.accent)
    sketch.line([(44, 71), (50, 61)], ink.dark, width=1.6)
    if rng.random() < 0.5:
        sketch.polygon([(68, 36), (86, 36), (83, 49), (71, 49)], ink.accent, cloth=True)
        sketch.line([(68, 36), (86, 36)], tinted(ink.accent, BLACK, 0.25), width=1.8)


def _wheel(sketch: Sketch, ink: Ink, hub: Point, radius: float) -> None:
    sketch.ring(hub, (radius, radius), tinted(ink.dark, BLACK, 0.3), width=2.8)
    sketch.ring(hub, (radius - 2.4, radius - 2.4), tinted(ink.accent, WHITE, 0.3), width=0.9)
    for spoke in range(6):
        turn = spoke * pi / 6
        ends = [
            (hub[0] + sign * (radius - 3) * cos(turn), hub[1] + sign * (radius - 3) * sin(turn)) for sign in (-1, 1)
        ]
        sketch.line(ends, tinted(ink.dark, WHITE, 0.4), width=0.5)
    sketch.ellipse(hub, (2, 2), ink.dark)
