"""Images of items: a folder addressed by content. The log carries only the reference.

ImageError
  BadImage          not an image that may be kept: format, size, or it does not decode
  ImageMissing      no image of this reference
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import uuid
from pathlib import Path

from PIL import Image, UnidentifiedImageError

MAX_IMAGE_BYTES = 5_000_000
MAX_IMAGE_PIXELS = 20_000_000
_EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif"}
_REF = re.compile(r"[0-9a-f]{64}\.(jpg|png|webp|gif)")


class ImageError(ValueError):
    """Anything wrong with an image or its reference."""


class BadImage(ImageError):
    """Bytes that are not an image that may be kept."""


class ImageMissing(ImageError):
    """No image of this reference."""


def check_image(data: bytes, max_bytes: int = MAX_IMAGE_BYTES, max_pixels: int = MAX_IMAGE_PIXELS) -> str:
    """Decode an image fully, within bounds.

    Args:
        data: the file.
        max_bytes: of the file.
        max_pixels: width times height; looked at before anything is decoded.

    Returns:
        JPEG, PNG, WEBP or GIF.

    Raises:
        BadImage: the message names the limit or the fault.
    """
    if len(data) > max_bytes:
        raise BadImage(f"image has {len(data)} bytes, limit is {max_bytes}; send a smaller one")
    try:
        with Image.open(io.BytesIO(data), formats=list(_EXTENSIONS)) as image:
            if image.width * image.height > max_pixels:
                raise BadImage(
                    f"image has {image.width} x {image.height} pixels, limit is {max_pixels}; send a smaller one"
                )
            image.load()
            return str(image.format)
    except BadImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise BadImage(f"image has too many pixels, limit is {max_pixels}; send a smaller one") from exc
    except Exception as exc:  # on hostile bytes the decoders raise nearly anything
        known = ", ".join(_EXTENSIONS)
        why = "its format is not known" if isinstance(exc, UnidentifiedImageError) else exc
        raise BadImage(f"image of {len(data)} bytes does not decode ({why}); send a whole {known}") from exc


class ImageStore:
    """Images under root/<first two digits>/<sha256>.<extension>; safe for many threads and processes.

    One being written is in the root under a temporary name.
    """

    def __init__(self, root: Path) -> None:
        self._root = Path(root)

    def put(self, data: bytes) -> str:
        """Check an image and keep it durably; the same bytes are kept once.

        Returns:
            Its reference, "<sha256>.jpg|png|webp|gif".

        Raises:
            BadImage: not an image that may be kept.
            OSError: the folder cannot be written.
        """
        digest = hashlib.sha256(data).hexdigest()
        for extension in _EXTENSIONS.values():
            if self.path(f"{digest}.{extension}").exists():  # checked when it came first
                return f"{digest}.{extension}"
        ref = f"{digest}.{_EXTENSIONS[check_image(data)]}"
        self._write(self.path(ref), data)
        return ref

    def get(self, ref: str) -> bytes:
        """The bytes of an image.

        Raises:
            ImageMissing: none of this reference.
            BadImage: not a reference.
        """
        try:
            return self.path(ref).read_bytes()
        except FileNotFoundError:
            raise ImageMissing(f"no image {ref!r} under {self._root}; send the item's image again") from None

    def path(self, ref: str) -> Path:
        """Where an image lies, or would lie.

        Raises:
            BadImage: not a reference (so nothing outside the folder can be named).
        """
        if not _REF.fullmatch(ref):
            raise BadImage(f"{ref[:80]!r} is not an image reference; it is <sha256>.jpg, .png, .webp or .gif")
        return self._root / ref[:2] / ref

    def clean(self) -> None:
        """Remove what a kill left half-written; for the one process that stores images, at its start."""
        for partial in self._root.glob(".*.tmp"):
            partial.unlink(missing_ok=True)

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._root / f".{path.name}.{uuid.uuid4().hex}.tmp"
        try:
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            _fsync_folder(path.parent)
            _fsync_folder(self._root)  # of the two digits, which may be new
        finally:
            partial.unlink(missing_ok=True)


def _fsync_folder(path: Path) -> None:
    """Force the names in a folder to the disk: without it a power cut may take a whole file's name away."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
