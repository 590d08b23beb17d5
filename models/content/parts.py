"""From many items' sentences to the distinct texts among them, and back to parts by item."""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.content.table import ContentError


class DistinctSentences:
    """Every sentence of many items once, and where each belongs.

    Args:
        sentences: N items' sentences; blank ones are no parts.
        max_parts: sentences an item may have.

    Raises:
        ContentError: an item has more.

    >>> distinct = DistinctSentences([["red", "shoe"], [], ["red"]], max_parts=6)
    >>> distinct.texts
    ['red', 'shoe']
    >>> distinct.place(torch.tensor([[1.0], [-1.0]]))[0].squeeze(-1).tolist()
    [[1.0, -1.0], [0.0, 0.0], [1.0, 0.0]]
    """

    def __init__(self, sentences: Sequence[Sequence[str]], *, max_parts: int) -> None:
        longest = max((len(parts) for parts in sentences), default=0)
        if longest > max_parts:
            raise ContentError(f"an item has {longest} sentences, limit is {max_parts}; use split_sentences")
        index: dict[str, int] = {}
        self._index = torch.full((len(sentences), max(longest, 1)), -1)  # (N, S), -1 is no part
        for row, parts in enumerate(sentences):
            for column, text in enumerate(part for part in parts if part.strip()):
                self._index[row, column] = index.setdefault(text, len(index))
        self.texts = list(index)

    def place(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Parts (N, S, d) and mask (N, S) from the distinct texts' vectors (len(texts), d).

        A vector of zeros, a text without one known word, is no part.
        """
        known = torch.cat([vectors.abs().sum(1) > 0, torch.tensor([False])])  # the last stands for index -1
        mask = known[self._index]
        parts = torch.cat([vectors, vectors.new_zeros(1, vectors.shape[1])])[self._index]
        return parts, mask
