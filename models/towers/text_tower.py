"""Sentences to vectors by any `transformers` text model: mean over the real tokens, length 1.

Follows sentence-transformers (Reimers & Gurevych, arXiv 1908.10084, section 3). Weights are frozen. Where they
cannot be had, `load_text_tower` gives the TF-IDF tower and says so.
"""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from models.content.parts import DistinctSentences
from models.content.table import MAX_SENTENCES
from models.device import CPU, own_device
from models.towers.hub import LOOK_S, find_weights
from models.towers.pretrained import check_tokenizer, frozen_model, lasting, loading, named, own_weights
from models.towers.tfidf_tower import TfidfTextTower
from models.towers.tower import TextTower, TowerState, WeightsUnavailable, fingerprint

MAX_TOKENS = 128  # of one sentence; what is beyond is cut
MAX_CHARACTERS = 4_000  # of one sentence, cut before it is made into tokens
BATCH_TOKENS = 1_024  # padding included, so long sentences make small batches; four times as many are no faster


class TransformerTextTower:
    """A frozen `transformers` text model.

    Args:
        name: hub id or local folder, kept to find the weights again.
        folder: where they lie here; see `models.towers.hub.find_weights`.

    Raises:
        TowerError: what lies there is no text model that `transformers` can read.
    """

    kind = "transformer"

    def __init__(self, name: str, folder: Path) -> None:
        # here and not above: two thirds of the time a start takes, and most towers need none of it
        from transformers import AutoModel, AutoTokenizer  # noqa: PLC0415

        self._name = name
        self._lock = threading.Lock()  # fast tokenizers may not be shared
        self._device = CPU
        self.max_parts = MAX_SENTENCES
        with loading(f"text tower {name!r}", folder):
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
            check_tokenizer(self._tokenizer)
            self._model, missing = frozen_model(AutoModel, folder)
            self._max_tokens = min(MAX_TOKENS, int(self._tokenizer.model_max_length), _n_positions(self._model))
            self.dim = int(self._model.config.hidden_size)
            weights = own_weights(self._model, missing, has_pooler=False)
            self.revision = fingerprint(self.kind, self._identity(), weights)  # before a use changes the tokenizer
            self.encode([["probe " * MAX_TOKENS]])
        self._device = own_device()
        self._model.to(self._device)

    @property
    def state(self) -> TowerState:
        """The weights' name; they stay where they are and must fit the revision when they are read again."""
        return TowerState(self.kind, self.revision, named(self._name))

    def encode(self, sentences: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
        """See `TextTower.encode`. A sentence given several times is encoded once."""
        distinct = DistinctSentences(sentences, max_parts=self.max_parts)
        vectors = torch.zeros(len(distinct.texts), self.dim)
        with torch.inference_mode():
            for positions, tokens in self._batches(distinct.texts):
                vectors[positions] = self._pooled(tokens)
        return distinct.place(vectors)

    def _batches(self, texts: Sequence[str]) -> Iterator[tuple[list[int], list[Tensor]]]:
        """Positions in `texts` and their tokens, sorted by length so that little is padding."""
        tokens = self._tokens(texts)
        batch: list[int] = []
        for position in sorted(range(len(tokens)), key=lambda i: len(tokens[i])):
            if batch and len(tokens[position]) * (len(batch) + 1) > BATCH_TOKENS:
                yield batch, [tokens[i] for i in batch]
                batch = []
            batch.append(position)
        if batch:
            yield batch, [tokens[i] for i in batch]

    def _tokens(self, texts: Sequence[str]) -> list[Tensor]:
        if not texts:
            return []
        with self._lock:
            encoded = self._tokenizer(
                [text[:MAX_CHARACTERS] for text in texts],
                truncation=True,
                max_length=self._max_tokens,
                return_attention_mask=False,
                return_token_type_ids=False,
            )
        return [torch.tensor(ids, dtype=torch.int64) for ids in encoded["input_ids"]]

    def _pooled(self, tokens: list[Tensor]) -> Tensor:
        """Mean state over each sentence's own tokens, (n, dim), of length 1."""
        lengths = torch.tensor([len(ids) for ids in tokens])
        ids = pad_sequence(tokens, batch_first=True, padding_value=self._tokenizer.pad_token_id or 0)  # (n, T)
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long().to(self._device)  # (n, T)
        states = self._model(input_ids=ids.to(self._device), attention_mask=mask).last_hidden_state  # (n, T, dim)
        total: Tensor = (states * mask.unsqueeze(-1)).sum(1)
        return functional.normalize(total, dim=-1).cpu()

    def _identity(self) -> dict[str, Any]:
        """What the vectors depend on beside the weights; not the name, as a copy gives the same vectors."""
        tokenizer = self._tokenizer.backend_tokenizer.to_str() if self._tokenizer.is_fast else self._name
        return {"config": lasting(self._model.config), "tokenizer": tokenizer, "max_tokens": self._max_tokens}


def _n_positions(model: Any) -> int:  # noqa: ANN401 - transformers' own, untyped
    """Tokens that the model has places for; RoBERTa's begin after the one of its padding."""
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    if not isinstance(table, nn.Embedding):
        return MAX_TOKENS
    return table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)


def load_text_tower(
    name: str, *, corpus: Sequence[Sequence[str]], look_s: float = LOOK_S, seed: int = 0
) -> tuple[TextTower, str | None]:
    """The text tower of that name, or TF-IDF where its weights cannot be had.

    Args:
        name: "tfidf", a local folder, or a hub id; see `models.towers.hub.find_weights` for the order of search.
        corpus: every item's sentences, what TF-IDF is fitted on.
        look_s: bound on asking the hub, seconds.
        seed: of TF-IDF's decomposition.

    Returns:
        The tower, and one line for the user where it is not the one asked for.

    Raises:
        TowerError: a local folder without a readable text model.
    """
    if name == TfidfTextTower.kind:
        return TfidfTextTower.fit(corpus, seed=seed), None
    try:
        return TransformerTextTower(name, find_weights(name, look_s=look_s)), None
    except WeightsUnavailable as exc:
        note = f"text tower: TF-IDF instead of {name}, whose weights cannot be had ({exc})"
        return TfidfTextTower.fit(corpus, seed=seed), note
