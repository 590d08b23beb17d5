"""Sentences to vectors without pretrained weights: TF-IDF and truncated SVD, fitted on the catalogue's own text.

Latent semantic analysis (Deerwester et al., 1990). Words that share sentences come to lie together; a sentence of
unknown words has no vector. Kept as a vocabulary in JSON and two tensors.
"""

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor
from torch.nn import functional

from models.content.parts import DistinctSentences
from models.content.table import MAX_SENTENCES
from models.towers.tower import DamagedTower, TowerState, fingerprint

MAX_DIM = 128
MAX_TERMS = 50_000
_NO_TERM = "\x00"  # the vocabulary of a catalogue without a word; no text contains it


class TfidfTextTower:
    """TF-IDF over words, projected to at most `MAX_DIM` directions.

    Args:
        terms: the vocabulary, in order of columns.
        idf: (V,) float32, weight of each term.
        components: (dim, V) float32, the directions kept.
    """

    kind = "tfidf"

    def __init__(self, terms: Sequence[str], idf: Tensor, components: Tensor) -> None:
        self._terms, self._idf, self._components = list(terms), idf, components
        self._vectorizer = _vectorizer(vocabulary={term: column for column, term in enumerate(terms)})
        self._vectorizer.idf_ = idf.double().numpy()
        self.dim = int(components.shape[0])
        self.max_parts = MAX_SENTENCES
        self.revision = fingerprint(self.kind, {"terms": self._terms}, {"idf": idf, "components": components})

    @classmethod
    def fit(cls, corpus: Sequence[Sequence[str]], *, seed: int = 0) -> "TfidfTextTower":
        """Learn vocabulary and directions from every item's sentences; an empty catalogue is no error."""
        texts = [text for parts in corpus for text in parts]
        vectorizer = _vectorizer(vocabulary=None)
        try:
            counts = vectorizer.fit_transform(texts)
        except ValueError:  # scikit-learn's answer to texts without one word
            return cls([_NO_TERM], torch.ones(1), torch.ones(1, 1))
        components = np.ones((1, 1))  # of a single term
        if counts.shape[1] > 1:
            dim = min(MAX_DIM, *counts.shape)
            components = TruncatedSVD(dim, random_state=seed, n_iter=7).fit(counts).components_
        return cls(
            [str(term) for term in vectorizer.get_feature_names_out()],
            torch.from_numpy(vectorizer.idf_.astype(np.float32)),
            torch.from_numpy(np.ascontiguousarray(components, dtype=np.float32)),
        )

    @property
    def state(self) -> TowerState:
        """Vocabulary, weights and directions."""
        tensors = {"idf": self._idf, "components": self._components}
        return TowerState(self.kind, self.revision, {"terms": self._terms}, tensors)

    @classmethod
    def from_state(cls, state: TowerState) -> "TfidfTextTower":
        """Read what `state` gave.

        Raises:
            DamagedTower: vocabulary and tensors do not belong together.
        """
        terms, tensors = state.settings.get("terms", []), state.tensors
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if shapes.get("idf") != (len(terms),) or shapes.get("components", ())[1:] != (len(terms),):
            raise DamagedTower(f"TF-IDF tower of {len(terms)} terms has tensors {shapes}; restore the bundle")
        return cls(terms, tensors["idf"], tensors["components"])

    def encode(self, sentences: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
        """See `TextTower.encode`. A sentence of unknown words only is no part."""
        distinct = DistinctSentences(sentences, max_parts=self.max_parts)
        if not distinct.texts:
            return distinct.place(torch.zeros(0, self.dim))
        weights = self._vectorizer.transform(distinct.texts)  # sparse (n, V)
        vectors = torch.from_numpy((weights @ self._components.numpy().T).astype(np.float32))
        return distinct.place(functional.normalize(vectors, dim=-1))


def _vectorizer(vocabulary: dict[str, int] | None) -> TfidfVectorizer:
    return TfidfVectorizer(vocabulary=vocabulary, max_features=MAX_TERMS, sublinear_tf=True, strip_accents="unicode")
