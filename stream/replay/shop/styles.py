"""What the shop sells: twelve categories of product in nine styles, each style with its colours and pattern."""

from __future__ import annotations

from dataclasses import dataclass

Colour = tuple[int, int, int]

# What people look at next, in the same style: the accessory after the main product.
COMPLEMENTS = {
    "lamp": "chair",
    "chair": "plant pot",
    "plant pot": "lamp",
    "mug": "kettle",
    "kettle": "mug",
    "bicycle": "backpack",
    "backpack": "shoe",
    "shoe": "jacket",
    "jacket": "watch",
    "watch": "shoe",
    "guitar": "headphones",
    "headphones": "guitar",
}
CATEGORIES = tuple(sorted(COMPLEMENTS))


@dataclass(frozen=True)
class Style:
    """One look.

    Attributes:
        name: as attributes and descriptions carry it.
        main: colours of the body, one is drawn per item.
        accent: colours of details and pattern.
        dark: outlines and feet.
        ground: behind the product.
        pattern: on the body; one of stems in stream.replay.shop.patterns.
    """

    name: str
    main: tuple[Colour, ...]
    accent: tuple[Colour, ...]
    dark: Colour
    ground: Colour
    pattern: str


STYLES = {
    style.name: style
    for style in (
        Style(
            "nordic",
            ((143, 176, 196), (214, 205, 190), (168, 186, 178)),
            ((232, 205, 164), (245, 240, 230)),
            (92, 104, 112),
            (241, 238, 231),
            "plain",
        ),
        Style(
            "retro",
            ((226, 120, 58), (214, 158, 46), (196, 82, 56)),
            ((247, 205, 98), (250, 232, 200)),
            (92, 56, 40),
            (251, 233, 208),
            "rings",
        ),
        Style(
            "industrial",
            ((82, 88, 96), (112, 116, 120), (62, 66, 72)),
            ((196, 128, 68), (172, 178, 184)),
            (40, 42, 46),
            (220, 223, 226),
            "grid",
        ),
        Style(
            "coastal",
            ((36, 92, 142), (52, 128, 176), (24, 68, 110)),
            ((248, 250, 250), (240, 226, 196)),
            (20, 48, 80),
            (219, 240, 246),
            "stripes",
        ),
        Style(
            "botanical",
            ((70, 132, 84), (104, 152, 84), (46, 104, 78)),
            ((186, 214, 134), (242, 236, 200)),
            (36, 68, 48),
            (232, 242, 224),
            "leaves",
        ),
        Style(
            "blossom",
            ((230, 142, 168), (240, 170, 178), (212, 116, 158)),
            ((255, 236, 238), (250, 206, 150)),
            (128, 64, 92),
            (253, 238, 240),
            "dots",
        ),
        Style(
            "midnight",
            ((54, 50, 112), (72, 60, 140), (38, 40, 84)),
            ((246, 208, 104), (206, 196, 248)),
            (24, 22, 52),
            (224, 221, 244),
            "stars",
        ),
        Style(
            "desert",
            ((186, 88, 62), (204, 118, 78), (158, 72, 66)),
            ((240, 206, 152), (96, 148, 146)),
            (96, 50, 40),
            (247, 230, 214),
            "zigzag",
        ),
        Style(
            "aurora",
            ((28, 192, 178), (60, 208, 150), (72, 168, 216)),
            ((250, 92, 164), (232, 250, 120)),
            (28, 70, 96),
            (222, 250, 240),
            "waves",
        ),
    )
}
TREND_STYLE = "aurora"  # not sold before it becomes the fashion
FADING_CATEGORY = "watch"  # out of fashion from the same day on
