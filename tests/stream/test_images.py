"""Real images, made here, and hostile ones."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from stream.images import BadImage, ImageMissing, ImageStore, check_image


def picture(image_format: str = "PNG", size: tuple[int, int] = (8, 6)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(file, format=image_format)
    return file.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    """A few bytes that claim to be a huge picture."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("image_format", "extension"), [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("GIF", "gif")]
)
def test_an_image_comes_back_by_its_reference(tmp_path: Path, image_format: str, extension: str) -> None:
    store = ImageStore(tmp_path / "images")
    data = picture(image_format)
    ref = store.put(data)
    assert ref.endswith(f".{extension}")
    assert len(ref) == 64 + 1 + len(extension)
    assert store.get(ref) == data
    assert store.path(ref).is_file()


def test_the_same_bytes_are_kept_once(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    assert store.put(picture()) == store.put(picture())
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_the_name_is_forced_to_the_disk_after_the_bytes(
    tmp_path: Path, disk_steps: Callable[[Path], list[str]]
) -> None:
    ref = ImageStore(tmp_path).put(picture())

    name = f"{ref[:2]}/{ref}"
    assert disk_steps(tmp_path) == [f"force {name}", f"rename {name}", f"force {ref[:2]}", "force ."]


@pytest.mark.parametrize("size", [(30_000, 30_000), (5_000, 4_001), (12_000, 10_000), (2**31 - 1, 2**31 - 1)])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(size: tuple[int, int]) -> None:
    with pytest.raises(BadImage, match="limit is 20000000"):
        check_image(png_claiming(*size))


def test_a_file_above_the_limit_is_refused() -> None:
    with pytest.raises(BadImage, match="image has 5000001 bytes, limit is 5000000"):
        check_image(b"\0" * 5_000_001)


def test_what_was_wrong_with_a_file_is_told_in_words() -> None:
    with pytest.raises(BadImage) as refusal:
        check_image(b"text")
    told = "image of 4 bytes does not decode (its format is not known); send a whole JPEG, PNG, WEBP, GIF"
    assert str(refusal.value) == told


@pytest.mark.parametrize(
    "data",
    [b"", b"not an image", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"%!PS-Adobe-3.0 EPSF-3.0\n", picture("BMP")],
    ids=["empty", "text", "png head", "gif head", "postscript", "bmp"],
)
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(BadImage, match=r"does not decode .*; send a whole JPEG, PNG, WEBP, GIF"):
        check_image(data)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_every_truncation_is_refused_or_decodes(image_format: str) -> None:
    data = picture(image_format, (64, 64))
    with pytest.raises(BadImage):
        check_image(data[: len(data) // 2])
    for end in range(0, len(data), 7):
        try:
            assert check_image(data[:end]) == image_format
        except BadImage:
            continue


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageMissing, match="no image 'aaaa"):
        ImageStore(tmp_path).get("a" * 64 + ".png")


@pytest.mark.parametrize(
    "ref", ["../../etc/passwd", "", "a" * 64, "a" * 64 + ".exe", "a" * 64 + ".png\n", "A" * 64 + ".png"]
)
def test_a_reference_cannot_leave_the_folder(tmp_path: Path, ref: str) -> None:
    with pytest.raises(BadImage, match="not an image reference"):
        ImageStore(tmp_path).path(ref)


def test_a_bad_image_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(BadImage):
        ImageStore(tmp_path).put(b"nothing")
    assert list(tmp_path.iterdir()) == []


def test_what_a_kill_left_half_written_is_removed(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    ref = store.put(picture())
    (tmp_path / f".{'a' * 64}.png.1b2c.tmp").write_bytes(b"half")
    store.clean()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [ref]
