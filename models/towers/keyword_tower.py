"""A picture as its nearest keywords, each a vector of the text tower: image and text then speak one language.

Section 4.1 of MP4SR (Zhang et al., arXiv 2303.11879), there with N = 15. Nearest is by cosine between CLIP's vectors
of picture and keyword. Not in the paper: the keywords are the catalogue's own words (`models.towers.vocabulary`), and
a picture is not cropped.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from models.towers.clip import Clip
from models.towers.hub import LOOK_S
from models.towers.pretrained import named
from models.towers.tower import DamagedTower, TowerError, TowerState, fingerprint
from models.towers.vocabulary import Vocabulary

N_KEYWORDS = 15


class KeywordTower:
    """CLIP chooses the keywords of a picture, the text tower's vectors of them are its parts.

    Args:
        clip: what compares pictures with keywords.
        vocabulary: the keywords, with their vectors.
        n_keywords: keywords of a picture; all of them where the vocabulary has fewer.

    Raises:
        TowerError: n_keywords below 1, or keywords seen at another width than this CLIP has.
    """

    kind = "keywords"

    def __init__(self, clip: Clip, vocabulary: Vocabulary, *, n_keywords: int = N_KEYWORDS) -> None:
        if n_keywords < 1:
            raise TowerError(f"n_keywords={n_keywords} must be at least 1")
        if vocabulary.seen.shape[1] != clip.dim:
            raise TowerError(f"keywords seen at width {vocabulary.seen.shape[1]}, CLIP {clip.name!r} has {clip.dim}")
        self._clip, self._vocabulary, self._n_keywords = clip, vocabulary, n_keywords
        self.n_parts = min(n_keywords, len(vocabulary.words))
        self.dim = int(vocabulary.said.shape[1])
        identity = {
            "clip": clip.revision,
            "vocabulary": vocabulary.digest,
            "n_keywords": n_keywords,
            "text": vocabulary.text_revision,
        }
        self.revision = fingerprint(self.kind, identity, {})

    @property
    def state(self) -> TowerState:
        """The keywords and their vectors, and CLIP's name; its weights stay where they are."""
        vocabulary = self._vocabulary
        settings: dict[str, Any] = {
            **named(self._clip.name),
            "n_keywords": self._n_keywords,
            "words": list(vocabulary.words),
            "text": vocabulary.text_revision,
            "checksum": vocabulary.checksum,
        }
        return TowerState(self.kind, self.revision, settings, {"seen": vocabulary.seen, "said": vocabulary.said})

    @classmethod
    def from_state(cls, state: TowerState, *, look_s: float = LOOK_S) -> "KeywordTower":
        """Read what `state` gave; no keyword is encoded again.

        Raises:
            DamagedTower: keywords and vectors are not those that were kept.
            WeightsUnavailable: CLIP's weights are neither on disk nor to be had now.
            TowerError: a folder without a readable CLIP.
        """
        settings = state.settings
        try:
            vocabulary = Vocabulary(
                tuple(settings["words"]), state.tensors["seen"], state.tensors["said"], str(settings["text"])
            )
            name, n_keywords, kept = str(settings["name"]), int(settings["n_keywords"]), settings["checksum"]
        except (KeyError, TypeError, ValueError, TowerError) as exc:
            raise DamagedTower(f"keyword tower {state.revision} is not whole: {exc!r}; restore the bundle") from exc
        if vocabulary.checksum != kept:
            raise DamagedTower(
                f"keyword tower {state.revision} was kept with {kept}, its keywords now give {vocabulary.checksum}; "
                "restore the bundle"
            )
        return cls(Clip.load(name, look_s=look_s), vocabulary, n_keywords=n_keywords)

    def encode(self, images: Sequence[bytes | None]) -> tuple[Tensor, Tensor]:
        """See `ImageTower.encode`; the parts are in order, the nearest keyword first."""
        parts = torch.zeros(len(images), self.n_parts, self.dim)
        mask = torch.zeros(len(images), self.n_parts, dtype=torch.bool)
        rows, nearest = self._nearest(images)
        parts[rows] = self._vocabulary.said[nearest]
        mask[rows] = True
        return parts, mask

    def keywords(self, images: Sequence[bytes | None]) -> list[tuple[str, ...]]:
        """The keywords of each picture, nearest first; none of a missing or undecodable one."""
        words = self._vocabulary.words
        rows, nearest = self._nearest(images)
        chosen = dict(zip(rows.tolist(), nearest.tolist(), strict=True))
        return [tuple(words[column] for column in chosen.get(row, ())) for row in range(len(images))]

    def _nearest(self, images: Sequence[bytes | None]) -> tuple[Tensor, Tensor]:
        """Rows (n,) int64 of decodable images, and their keywords (n, n_parts) int64; ties by the keywords' order."""
        rows, directions = self._clip.pictures(images)
        cosines = directions @ self._vocabulary.seen.T  # (n, V)
        return rows, cosines.sort(dim=1, descending=True, stable=True).indices[:, : self.n_parts]
