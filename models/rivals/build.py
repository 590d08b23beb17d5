"""Recommenders by name, each with the settings it is compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from models.content.table import ContentTable
from models.encoder.batches import SequenceData
from models.encoder.config import TIME_BUCKETS, Shape, TimedShape, TrainingConfig
from models.memory.blend import BlendConfig, BlendWeights
from models.memory.transitions import MemoryConfig
from models.rivals.blended import BlendedRecommender
from models.rivals.config import NextItemConfig
from models.rivals.cooccurrence import CooccurrenceConfig
from models.rivals.counting import MAX_PAIRED_ITEMS, N_CHOSEN_BY, PROFILES, ContentNeighbours, Cooccurrence, Popularity
from models.rivals.learners import Learner, M2SELearner, NextItemLearner
from models.rivals.memory import MemoryRival
from models.rivals.neural import PATIENCE, NeuralRecommender
from models.rivals.numbering import Numbering
from models.rivals.recommender import Catalogue, Recommender

COOCCURRENCE = CooccurrenceConfig(history_decay=0.6, max_items=MAX_PAIRED_ITEMS)
"""The best of 30 on MovieLens-1M's second to last events: filtered NDCG@10 .0901, with the live decay .0843."""

MEMORY = MemoryConfig()

_TIMED = TimedShape(n_time_buckets=TIME_BUCKETS)

NEXT_ITEM = {
    "gru4rec": NextItemConfig(encoder="gru", shape=Shape(n_layers=1)),
    "sasrec": NextItemConfig(),
    "sasrec-long": NextItemConfig(train_epochs=40),
    "sasrec-time-buckets-long": NextItemConfig(train_epochs=40, shape=_TIMED),
    "unisrec": NextItemConfig(train_lr=1e-3),
}

_FULL = TrainingConfig(finetune_epochs=20)  # at most, as the rivals'; validation stops it
_LONG = replace(_FULL, finetune_epochs=40)
_ONE_MODALITY = replace(_FULL, max_mixup=0.0, cmcl_weight=0.0)  # there is nothing to mix it with or hold it against
M2SE = {
    "m2se": _FULL,
    "m2se-long": _LONG,
    "m2se-pretrained": replace(_FULL, pretrain_epochs=10, finetune_epochs=0),
    "m2se-pretrained-long": replace(_FULL, pretrain_epochs=30, finetune_epochs=0),
    "m2se-pretrained-logq": replace(_FULL, pretrain_epochs=10, finetune_epochs=0, msnip_logq=True),
    "m2se-no-mixup": replace(_FULL, max_mixup=0.0),
    "m2se-no-cmcl": replace(_FULL, cmcl_weight=0.0),
    "m2se-logq": replace(_FULL, msnip_logq=True),
    "m2se-no-msnip": replace(_FULL, msnip_weight=0.0),
    "m2se-no-pretraining": replace(_FULL, pretrain_epochs=0),
    "m2se-no-moe": _FULL,
    "m2se-time-buckets": _FULL,
    "m2se-time-buckets-long": _LONG,
    "m2se-text-only": _ONE_MODALITY,
    "m2se-image-only": _ONE_MODALITY,
    "m2se-id-only": replace(_ONE_MODALITY, pretrain_epochs=0),
}

_SHAPES = {"m2se-no-moe": Shape(n_experts=1), "m2se-time-buckets": _TIMED, "m2se-time-buckets-long": _TIMED}

BLEND = BlendConfig()
BLENDED = {"freshet": "m2se", "freshet-time-buckets": "m2se-time-buckets"}
"""Each the M2SE it names with `memory` and the blend of both; the second as it is served."""

NAMES = ("popularity", "cooccurrence", "memory", "content-knn", *NEXT_ITEM, *M2SE, *BLENDED)


def build(
    name: str, catalogue: Catalogue, *, seed: int, n_epochs: int | None = None, weights: BlendWeights | None = None
) -> Recommender:
    """A recommender that has learned nothing yet.

    Args:
        name: one of `NAMES`.
        catalogue: what it scores.
        seed: of all it draws.
        n_epochs: epochs to train, as chosen on validation; None where validation is to choose, and for models
            without epochs.
        weights: of the blend, as chosen on validation; only those of `BLENDED` have any.

    Raises:
        ValueError: the name is unknown, or the catalogue lacks the content the model is made of.
    """
    if name not in NAMES:
        raise ValueError(f"no model is called {name!r}; there are {', '.join(NAMES)}")
    if name == "popularity":
        return Popularity(catalogue.n_items)
    if name == "cooccurrence":
        return Cooccurrence(catalogue.n_items, COOCCURRENCE)
    if name == "memory":
        return MemoryRival(catalogue.n_items, MEMORY)
    if name == "content-knn":
        return ContentNeighbours(_content(name, catalogue))
    if name in BLENDED:
        slow = build(BLENDED[name], catalogue, seed=seed, n_epochs=n_epochs)
        return BlendedRecommender(name, slow, memory=MEMORY, blend=BLEND, weights=weights)
    new_learner = _next_item(name, catalogue, seed) if name in NEXT_ITEM else _m2se(name, catalogue, seed)
    return NeuralRecommender(name, catalogue, new_learner, n_epochs=n_epochs, patience=_patience(name), seed=seed)


def settings_of(name: str) -> tuple[object, ...]:
    """Everything that a model of this name is made and trained with.

    Args:
        name: one of `NAMES`.
    """
    if name in BLENDED:
        return (*settings_of(BLENDED[name]), MEMORY, BLEND)
    if name in M2SE:
        return M2SE[name], _SHAPES.get(name, Shape()), _patience(name)
    if name in NEXT_ITEM:
        return NEXT_ITEM[name], _patience(name)
    counting = {"memory": MEMORY, "cooccurrence": COOCCURRENCE, "content-knn": (PROFILES, N_CHOSEN_BY)}
    return (counting[name],) if name in counting else ()


def _patience(name: str) -> int:
    """Epochs without a better score after which one stops; the long ones never do while their rate is still high."""
    return 40 if name.endswith("-long") else PATIENCE


NewLearner = Callable[[SequenceData, Numbering], Learner]


def _next_item(name: str, catalogue: Catalogue, seed: int) -> NewLearner:
    config = replace(NEXT_ITEM[name], seed=seed)
    content = _content(name, catalogue) if name == "unisrec" else None

    def new_learner(data: SequenceData, numbering: Numbering) -> Learner:
        numbered = None if content is None else content.select(torch.from_numpy(numbering.row_of))
        return NextItemLearner(data, config, n_owners=numbering.n_owners, content=numbered)

    return new_learner


def _m2se(name: str, catalogue: Catalogue, seed: int) -> NewLearner:
    config = replace(M2SE[name], seed=seed)
    shape = _SHAPES.get(name, Shape())
    content = _no_content(catalogue.n_items) if name == "m2se-id-only" else _content(name, catalogue)
    if name == "m2se-text-only":
        content = replace(content, image=content.image * 0, image_mask=content.image_mask & False)
    if name == "m2se-image-only":
        content = replace(content, text=content.text * 0, text_mask=content.text_mask & False)

    def new_learner(data: SequenceData, numbering: Numbering) -> Learner:
        numbered = content.select(torch.from_numpy(numbering.row_of))
        return M2SELearner(data, numbered, n_owners=numbering.n_owners, shape=shape, config=config)

    return new_learner


def _content(name: str, catalogue: Catalogue) -> ContentTable:
    if catalogue.content is None:
        raise ValueError(f"{name} scores items by their content, and this catalogue has none; encode it first")
    return catalogue.content


def _no_content(n_items: int) -> ContentTable:
    """Items of which nothing is known."""
    parts, mask = torch.zeros(n_items, 1, 1), torch.zeros(n_items, 1, dtype=torch.bool)
    return ContentTable(tuple(str(row) for row in range(n_items)), parts, mask, parts, mask)
