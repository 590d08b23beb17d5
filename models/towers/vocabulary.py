"""The keywords that a picture can be told by: the catalogue's own most frequent words, as CLIP and as text see them.

A list from elsewhere would know words that no item of this catalogue says, and miss those of its trade.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
from torch import Tensor

from models.towers.clip import Clip
from models.towers.tower import NoKeywords, TextTower, TowerError, fingerprint

MAX_WORDS = 4_000  # a few seconds of CLIP's text half; rarer words say little of a picture

_WORD = re.compile(r"[^\W\d_]{3,}")


def frequent_words(corpus: Sequence[Sequence[str]], *, limit: int = MAX_WORDS) -> tuple[str, ...]:
    """Words by how many items say them, most first, ties by the alphabet.

    Numbers, words of fewer than three letters and English function words are left out.

    Args:
        corpus: every item's sentences.
        limit: words at most.

    >>> frequent_words([["A red shoe.", "Red!"], ["The shoe 1995"], ["blue"]], limit=3)
    ('shoe', 'blue', 'red')
    """
    counts = Counter(word for sentences in corpus for word in _words(sentences))
    return tuple(sorted(counts, key=lambda word: (-counts[word], word))[:limit])


def _words(sentences: Sequence[str]) -> set[str]:
    found = {word for sentence in sentences for word in _WORD.findall(sentence.lower())}
    return found.difference(ENGLISH_STOP_WORDS)


@dataclass(frozen=True)
class Vocabulary:
    """Keywords with both their vectors, made once and kept with the tower.

    Attributes:
        words: the V keywords.
        seen: (V, d_clip), as CLIP sees them, each of length 1.
        said: (V, d_text), as the text tower says them, each of length 1.
        text_revision: of that text tower.

    Raises:
        NoKeywords: there is none.
        TowerError: shapes that do not belong together, or a value that is not finite.
    """

    words: tuple[str, ...]
    seen: Tensor
    said: Tensor
    text_revision: str

    def __post_init__(self) -> None:
        """Refuse what cannot be ranked by, naming the values."""
        if not self.words:
            raise NoKeywords("no word of the catalogue is known to its text tower, so there is no keyword to choose")
        for name, vectors in (("seen", self.seen), ("said", self.said)):
            if vectors.ndim != 2 or len(vectors) != len(self.words):
                raise TowerError(f"{len(self.words)} keywords have {name} vectors of shape {tuple(vectors.shape)}")
            bad = ~torch.isfinite(vectors).all(1)
            if bad.any():
                word = self.words[int(bad.nonzero()[0])]
                raise TowerError(f"{name} vector of keyword {word!r} is not finite; restore the weights")

    @classmethod
    def encoded(cls, words: Sequence[str], *, clip: Clip, text: TextTower) -> "Vocabulary":
        """Encode words by both; one that the text tower does not know is left out.

        Raises:
            NoKeywords: it knows none.
            TowerError: a vector is not finite.
        """
        parts, mask = text.encode([[word] for word in words])  # (V, 1, d_text), (V, 1)
        known = tuple(word for word, is_known in zip(words, mask[:, 0].tolist(), strict=True) if is_known)
        return cls(known, clip.words(known), parts[mask[:, 0], 0], text.revision)

    @cached_property
    def digest(self) -> str:
        """Hash of the words."""
        return fingerprint("vocabulary", {"words": self.words}, {})

    @cached_property
    def checksum(self) -> str:
        """Hash of the words and their vectors, by which damage to a saved tower is known."""
        return fingerprint("vocabulary", {"words": self.words}, {"seen": self.seen, "said": self.said})
