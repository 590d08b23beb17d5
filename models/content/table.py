"""What an item says and shows: sentences before the towers, a table of part vectors after them.

The catalog role turns upserts into `ItemContent`, the towers turn that into part vectors, and
`ContentTable` carries the parts of many items to the encoder. A missing text or image is normal: its mask
row is all False and its vectors are zero.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

MAX_SENTENCES = 6
"""Parts of text an item has at most; what follows is merged into the last, where the tower cuts it."""

_BREAK = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[^\W_a-z])|(?<=[。！？])|[\r\n]+")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\"'“])(?:[A-Z]|Mr|Mrs|Ms|Dr|St|Jr|Sr|Prof|Gen|Lt|Capt|Sgt|vs|No|Vol|e\.g|i\.e)\.$"
)
_SPACE = re.compile(r"\s+")


class ContentError(ValueError):
    """Content of the wrong shape, with values that are no numbers, or asked for an unknown item."""


@dataclass(frozen=True)
class ItemContent:
    """An item as the towers take it; every part may be missing.

    Attributes:
        item_id: the item.
        sentences: its text, the title first, as `split_sentences` gives it.
        image: a content-addressed reference: the same reference is for ever the same picture.
        text_vector: the user's own text features, little-endian float16.
        image_vector: the user's own image features, likewise.
    """

    item_id: str
    sentences: tuple[str, ...] = ()
    image: str | None = None
    text_vector: bytes | None = None
    image_vector: bytes | None = None


def split_sentences(title: str, text: str, max_sentences: int = MAX_SENTENCES) -> tuple[str, ...]:
    """The title, then the text's sentences, at most `max_sentences` in all.

    What is left over is merged into the last sentence, so no word is dropped. A break is a full stop,
    question or exclamation mark before a capital or a digit, a CJK full stop, or a new line; common
    abbreviations and initials do not break.

    >>> split_sentences("Heat (1995)", "Mr. Hanna hunts a thief. He is good! Both are.", max_sentences=3)
    ('Heat (1995)', 'Mr. Hanna hunts a thief.', 'He is good! Both are.')
    >>> split_sentences("", "  ")
    ()
    """
    if max_sentences < 1:
        raise ContentError(f"max_sentences={max_sentences} must be at least 1")
    parts = [part for part in [_tidy(title), *_sentences(text)] if part]
    if len(parts) <= max_sentences:
        return tuple(parts)
    return (*parts[: max_sentences - 1], " ".join(parts[max_sentences - 1 :]))


def _sentences(text: str) -> list[str]:
    """Sentences of a text; a piece that ends in an abbreviation takes the next piece to itself."""
    sentences: list[str] = []
    start = 0
    for found in _BREAK.finditer(text):
        ends_line = "\n" in found.group() or "\r" in found.group()
        if not ends_line and _ABBREVIATION.search(text[max(0, found.start() - 12) : found.start()]):
            continue
        closing = len(found.group()) - len(found.group().lstrip("\"'”’)]"))
        sentences.append(_tidy(text[start : found.start() + closing]))
        start = found.end()
    return [*sentences, _tidy(text[start:])]


def _tidy(text: str) -> str:
    return _SPACE.sub(" ", text).strip()


@dataclass(frozen=True)
class ContentTable:
    """Part vectors of `N` items, one row an item.

    Attributes:
        item_ids: the items, each once; row i of every tensor is item i.
        text: (N, S_t, d_t) float; zero where the mask is False.
        text_mask: (N, S_t) bool, True for a real part.
        image: (N, S_v, d_v) float; zero where the mask is False.
        image_mask: (N, S_v) bool, True for a real part.

    Raises:
        ContentError: shapes that do not belong together, an id given twice, or a value that is no number.
    """

    item_ids: tuple[str, ...]
    text: Tensor
    text_mask: Tensor
    image: Tensor
    image_mask: Tensor

    def __post_init__(self) -> None:
        _check_modality("text", self.text, self.text_mask, self.item_ids)
        _check_modality("image", self.image, self.image_mask, self.item_ids)
        if len(self._row_of) != len(self.item_ids):
            twice = next(item for row, item in enumerate(self.item_ids) if self._row_of[item] != row)
            raise ContentError(f"item {twice!r} stands twice in the table; each item has one row")

    def __len__(self) -> int:
        return len(self.item_ids)

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._row_of

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {item: row for row, item in enumerate(self.item_ids)}

    def rows(self, item_ids: Sequence[str]) -> Tensor:
        """Rows of the given items.

        Returns:
            (len(item_ids),) int64.

        Raises:
            ContentError: an item that is not in the table.
        """
        try:
            return torch.tensor([self._row_of[item] for item in item_ids], dtype=torch.int64)
        except KeyError as exc:
            raise ContentError(f"item {exc.args[0]!r} is not among the {len(self)} items of the table") from exc

    def select(self, rows: Tensor) -> "ContentTable":
        """The table of the given rows, (n,) int64, in that order."""
        ids = tuple(self.item_ids[row] for row in rows.tolist())
        return ContentTable(ids, self.text[rows], self.text_mask[rows], self.image[rows], self.image_mask[rows])

    def concat(self, other: "ContentTable") -> "ContentTable":
        """Both tables, this one first; parts are padded to the longer of the two.

        Raises:
            ContentError: the widths differ (other towers made it), or an item is in both.
        """
        text, text_mask = _stack("text", (self.text, self.text_mask), (other.text, other.text_mask))
        image, image_mask = _stack("image", (self.image, self.image_mask), (other.image, other.image_mask))
        return ContentTable(self.item_ids + other.item_ids, text, text_mask, image, image_mask)


def _check_modality(name: str, parts: Tensor, mask: Tensor, item_ids: Sequence[str]) -> None:
    if parts.ndim != len(("item", "part", "width")) or parts.shape[0] != len(item_ids):
        raise ContentError(f"{name} has shape {tuple(parts.shape)}, wants ({len(item_ids)}, parts, width)")
    if mask.shape != parts.shape[:2] or mask.dtype != torch.bool:
        raise ContentError(
            f"{name}_mask has shape {tuple(mask.shape)} of {mask.dtype}, wants {tuple(parts.shape[:2])} of torch.bool"
        )
    if not parts.is_floating_point():
        raise ContentError(f"{name} holds {parts.dtype}, wants floating-point vectors")
    finite = torch.isfinite(parts)
    if not finite.all():
        row, part, column = (int(index) for index in (~finite).nonzero()[0])
        raise ContentError(
            f"{name} of item {item_ids[row]!r} (row {row}) holds {float(parts[row, part, column]):g} in part {part}, "
            "wants finite values; check the tower's weights or the vectors that came with it"
        )


def _stack(name: str, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Parts and masks of both tables as one, padded to the longer part axis."""
    if first[0].shape[2] != second[0].shape[2]:
        raise ContentError(
            f"{name} widths differ: {first[0].shape[2]} and {second[0].shape[2]}; encode both with the same towers"
        )
    longest = max(first[0].shape[1], second[0].shape[1])
    parts, masks = zip(*(pad_parts(parts, mask, longest) for parts, mask in (first, second)), strict=True)
    return torch.cat(parts), torch.cat(masks)


def pad_parts(parts: Tensor, mask: Tensor, n_parts: int) -> tuple[Tensor, Tensor]:
    """Parts (N, S, d) and mask (N, S) widened with zeros and False to (N, n_parts, d) and (N, n_parts)."""
    missing = n_parts - parts.shape[1]
    padded = torch.nn.functional.pad(parts, (0, 0, 0, missing))
    return padded, torch.nn.functional.pad(mask, (0, missing), value=False)
