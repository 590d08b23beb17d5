"""Fitted rivals as model versions: what a bundle of each holds, and what scores from it.

fit (build.py) -> served -> save -> bundle -> load_served -> Ranker
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np

from models.content.table import ContentTable
from models.registry.bundle import Bundle
from models.registry.weights import Tensors, read_weights
from models.rivals.build import NEXT_ITEM
from models.rivals.counting import ContentNeighbours, Cooccurrence, Popularity
from models.rivals.nets import NextItemNet
from models.rivals.neural import NeuralRecommender
from models.rivals.recommender import Recommender
from models.rivals.served_counts import NeighboursConfig, ServedCooccurrence, ServedNeighbours, ServedPopularity
from models.rivals.served_net import ServedNet
from models.scorer import Scorer

CONFIG = "rival"  # under this name a manifest's config has the rival's


class ServedRival(Scorer, Protocol):
    """A scorer that says what it was made with."""

    def config(self) -> dict[str, Any]:
        """Plain values for a manifest."""
        ...


Load = Callable[[dict[str, Any], Tensors, Sequence[str]], ServedRival]

LOADERS: dict[str, Load] = {
    ServedPopularity.kind: ServedPopularity.load,
    ServedCooccurrence.kind: ServedCooccurrence.load,
    ServedNeighbours.kind: ServedNeighbours.load,
    **dict.fromkeys(NEXT_ITEM, ServedNet.load),
}
"""By the kind in the manifest, which is the rival's name."""


def served(recommender: Recommender, content: ContentTable) -> ServedRival:
    """A fitted rival as a model version scores with it.

    Args:
        recommender: from `build`, by a name in `LOADERS`, and fitted.
        content: its catalogue, row i is item i.

    Raises:
        ValueError: not fitted, or no rival that can be served.
    """
    ids = content.item_ids
    match recommender:
        case Popularity(counts=counts):
            came = np.flatnonzero(counts)
            return ServedPopularity(counts[came], [ids[row] for row in came.tolist()])
        case Cooccurrence(pairs=pairs, numbered=numbered):
            counts, _ = pairs.learned(len(ids))
            n_came = int(np.count_nonzero(counts))  # the most frequent are numbered first
            learned = type(pairs).restored(pairs.config, *pairs.learned(n_came))
            return ServedCooccurrence(learned, [ids[row] for row in numbered[:n_came].tolist()])
        case ContentNeighbours(profile=profile):
            text_dim, image_dim = content.text.shape[2], content.image.shape[2]
            return ServedNeighbours(NeighboursConfig(**asdict(profile), text_dim=text_dim, image_dim=image_dim))
        case NeuralRecommender(name=name, model=NextItemNet() as net):
            owners = () if name == "unisrec" else recommender.owners.tolist()
            return ServedNet(net, net.config, [ids[row] for row in owners])
    raise ValueError(f"{recommender.name} cannot be served as a rival; there are {', '.join(LOADERS)}")


def load_served(bundle: Bundle) -> ServedRival:
    """What scores from a rival's bundle, its kind one of `LOADERS`.

    Raises:
        DamagedBundle: weights, configuration and item ids do not fit each other.
    """
    load = LOADERS[bundle.manifest.kind]
    return read_weights(bundle, lambda weights, ids: load(bundle.manifest.config[CONFIG], weights, ids))
