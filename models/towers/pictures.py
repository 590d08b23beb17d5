"""Encoded pictures to pixels of one size. What cannot be decoded is missing, never an error."""

import io
import struct
import warnings
from collections.abc import Iterable
from contextlib import suppress

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

MAX_PIXELS = 20_000_000  # beyond it a picture is taken for a decompression bomb and not decoded


def decode_picture(data: bytes, size: int) -> Tensor | None:
    """The whole picture at `size` x `size` pixels, its proportions given up.

    Args:
        data: JPEG, PNG, WebP, GIF or what else Pillow reads.
        size: pixels on a side.

    Returns:
        (3, size, size) uint8 RGB, or None where it cannot be decoded.

    Raises:
        MemoryError: there is no room to decode it now.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                return None
            picture.draft("RGB", (size, size))  # a JPEG is decoded at a fraction of its size
            _turn_upright(picture)
            small = _opaque(picture).resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
    except MemoryError:
        raise  # of this moment, where what is undecodable stays so
    except Exception:
        return None
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).contiguous()


def decode_pictures(images: Iterable[bytes | None], size: int) -> tuple[Tensor, Tensor]:
    """Many pictures at once, those missing or undecodable left out.

    Returns:
        Rows (n,) int64 of `images`, and their pixels (n, 3, size, size) uint8.
    """
    decoded = [None if data is None else decode_picture(data, size) for data in images]
    rows = [row for row, pixels in enumerate(decoded) if pixels is not None]
    pixels = [pixels for pixels in decoded if pixels is not None]
    empty = torch.empty(0, 3, size, size, dtype=torch.uint8)
    return torch.tensor(rows, dtype=torch.int64), torch.stack(pixels) if pixels else empty


def _turn_upright(picture: Image.Image) -> None:
    """Turn it as its EXIF says; where that cannot be read, it stays as it is."""
    picture.load()
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, SyntaxError, struct.error):
        ImageOps.exif_transpose(picture, in_place=True)


def _opaque(picture: Image.Image) -> Image.Image:
    """RGB, transparent places white."""
    if picture.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture) // 257).astype(np.uint8)).convert("RGB")  # 16 bits of grey to 8
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return picture.convert("RGB")
    with_alpha = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", with_alpha.size, "white"), with_alpha).convert("RGB")
