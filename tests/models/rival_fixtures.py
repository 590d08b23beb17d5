"""Small learners of every neural model, for what must hold of all of them."""

from dataclasses import asdict, replace

import numpy as np

from models.encoder.batches import SequenceData
from models.encoder.config import Shape, TimedShape, TrainingConfig
from models.rivals.config import NextItemConfig
from models.rivals.learners import Learner, M2SELearner, NextItemLearner
from tests.models.encoder_fixtures import N_ITEMS, small_content

SHAPE = Shape(dim=16, n_layers=1, n_heads=2, inner_dim=32, window=6, n_experts=2, dropout=0.1)
SMALL = NextItemConfig(shape=SHAPE, train_epochs=3, batch_size=8, train_lr=1e-2, seed=3)


def cyclic_data(n_users: int = 12, length: int = 9, *, n_items: int = N_ITEMS) -> SequenceData:
    """Every user walks through the items in the same order, from a place of their own, one a minute."""
    users = np.repeat(np.arange(n_users), length)
    nth = np.tile(np.arange(length), n_users)
    return SequenceData.from_events(users, (users + nth) % n_items, 60_000 * nth)


def small_learner(name: str, data: SequenceData, *, epochs: int = 3, dropout: float = 0.1) -> Learner:
    """A learner that knows all items of `small_content`."""
    shape = replace(SHAPE, dropout=dropout)
    if name == "m2se":
        both = TrainingConfig(
            pretrain_epochs=1, finetune_epochs=epochs, batch_size=8, finetune_lr=1e-2, seed=3, id_dropout=0.0
        )
        return M2SELearner(data, small_content(), n_owners=N_ITEMS, shape=shape, config=both)
    config = NEXT_ITEM[name]
    config = replace(config, shape=replace(config.shape, dropout=dropout), train_epochs=epochs)
    content = small_content() if name == "unisrec" else None
    return NextItemLearner(data, config, n_owners=N_ITEMS, content=content)


NEXT_ITEM = {
    "gru4rec": replace(SMALL, encoder="gru"),
    "sasrec": SMALL,
    "sasrec-time-buckets": replace(SMALL, shape=TimedShape(**asdict(SHAPE), n_time_buckets=8)),
    "sasrec-dot": replace(SMALL, scores="dot"),
    "unisrec": SMALL,
}
LEARNERS = (*NEXT_ITEM, "m2se")
