"""A product's picture: its drawing with the style's pattern, light from the left, a shadow, a soft ground."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache
from random import Random

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from stream.replay.shop import home_goods, outdoor_goods
from stream.replay.shop.patterns import pattern
from stream.replay.shop.sketch import BLACK, OVERSAMPLING, WHITE, Ink, Sketch, tinted
from stream.replay.shop.styles import STYLES, Colour

JPEG_QUALITY = 90
_PATTERN_STRENGTH = 0.55
_SHADE = 0.30  # how much darker the right side is
_SHADOW = 0.34
Drawing = Callable[[Sketch, Ink, Random], None]

DRAWINGS: dict[str, Drawing] = {
    "backpack": outdoor_goods.draw_backpack,
    "bicycle": outdoor_goods.draw_bicycle,
    "chair": home_goods.draw_chair,
    "guitar": outdoor_goods.draw_guitar,
    "headphones": outdoor_goods.draw_headphones,
    "jacket": outdoor_goods.draw_jacket,
    "kettle": home_goods.draw_kettle,
    "lamp": home_goods.draw_lamp,
    "mug": home_goods.draw_mug,
    "plant pot": home_goods.draw_plant_pot,
    "shoe": outdoor_goods.draw_shoe,
    "watch": outdoor_goods.draw_watch,
}


def draw(category: str, style_name: str, *, seed: str, px: int) -> bytes:
    """A JPEG of a product.

    Args:
        category: one of DRAWINGS.
        style_name: one of STYLES.
        seed: the details; the same seed gives the same bytes.
        px: width and height.
    """
    rng = Random(seed)
    style = STYLES[style_name]
    ink = Ink(main=_varied(rng.choice(style.main), rng), accent=_varied(rng.choice(style.accent), rng), dark=style.dark)
    sketch = Sketch(px)
    DRAWINGS[category](sketch, ink, rng)
    product, cloth = sketch.finished()
    product = _patterned(product, cloth, pattern(style.pattern, px), ink.accent)
    picture = _ground(style.name, px, rng.randrange(3)).copy()
    shadow = product.getchannel("A").point(lambda alpha: int(alpha * _SHADOW))
    shadow = ImageChops.offset(shadow.filter(ImageFilter.GaussianBlur(px / 40)), px // 48, px // 32)
    picture.paste(tinted(style.dark, BLACK, 0.3), mask=shadow)
    picture.paste(_shaded(product), mask=product.getchannel("A"))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return file.getvalue()


def _varied(colour: Colour, rng: Random) -> Colour:
    """The colour a little lighter or darker, so that no two items match exactly."""
    return tinted(colour, rng.choice((WHITE, BLACK)), rng.uniform(0.0, 0.14))


def _patterned(product: Image.Image, cloth: Image.Image, pattern: Image.Image, colour: Colour) -> Image.Image:
    mask = ImageChops.multiply(cloth, pattern).point(lambda value: int(value * _PATTERN_STRENGTH))
    printed = Image.composite(Image.new("RGB", product.size, colour), product.convert("RGB"), mask)
    printed.putalpha(product.getchannel("A"))
    return printed


def _shaded(product: Image.Image) -> Image.Image:
    return ImageChops.multiply(product.convert("RGB"), _light(product.width))


@lru_cache(maxsize=4)
def _light(px: int) -> Image.Image:
    """Full light at the upper left, falling off to the lower right."""
    across = np.linspace(0, 1, px)
    fall = 0.7 * across[None, :] + 0.3 * across[:, None]
    grey = 255 * (1 - _SHADE * np.clip(fall * 1.25 - 0.25, 0, 1))
    return Image.fromarray(np.repeat(grey[..., None], 3, axis=2).astype(np.uint8))


@lru_cache(maxsize=64)
def _ground(style_name: str, px: int, shift: int) -> Image.Image:
    """A pale wall with a brighter disc behind the product, and a table it stands on."""
    style = STYLES[style_name]
    wall = tinted(style.ground, style.main[shift], 0.10)
    large = px * OVERSAMPLING
    ground = Image.new("RGB", (large, large), wall)
    drawing = ImageDraw.Draw(ground)
    drawing.ellipse([large * place for place in (0.11, 0.06, 0.89, 0.84)], fill=tinted(wall, WHITE, 0.45))
    drawing.rectangle([0, large * 0.80, large, large], fill=tinted(wall, style.main[shift], 0.16))
    drawing.ellipse([large * place for place in (0.16, 0.795, 0.84, 0.915)], fill=tinted(wall, style.dark, 0.22))
    return ground.reduce(OVERSAMPLING).filter(ImageFilter.GaussianBlur(px / 130))
