"""Rankers for the tests: a small real one, and one that gives the scores a test asks for."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.encoder.m2se import M2SE
from models.encoder_scorer import EncoderScorer, write_model
from models.ranker import Ranker
from models.registry.bundle import DataSpan, Manifest
from models.registry.registry import Registry
from tests.models.encoder_fixtures import small_model


def manifest(version: str = "", *, model: M2SE | None = None, text_tower: str = "text-1") -> Manifest:
    return Manifest(
        created_ms=1_700_000_000_000,
        config={"encoder": (model or small_model()).config.to_dict()},
        tower_revisions={"text": text_tower, "image": "image-1"},
        data=DataSpan(offsets={0: 5}, n_events=5),
        seed=0,
        code_version="test",
        version=version,
    )


def small_ranker(item_ids: Sequence[str] = (), *, version: str = "v1", text_tower: str = "text-1") -> Ranker:
    scorer = EncoderScorer(small_model(n_ids=len(item_ids)), item_ids)
    return Ranker(scorer, manifest(version, text_tower=text_tower))


def publish(registry: Registry, model: M2SE, item_ids: Sequence[str], *, draft: Manifest | None = None) -> str:
    stage = registry.stage()
    write_model(stage, model, item_ids)
    return registry.publish(stage, draft or manifest(model=model))


def registry_in(folder: Path) -> Registry:
    return Registry(folder / "registry", now_ms=lambda: 1_700_000_000_000)


class ScoredByHand:
    """A ranker that gives every sequence the same scores."""

    def __init__(self, **scores: float) -> None:
        self._scores = scores

    def scores(
        self, sequences: Sequence[Sequence[str]], times_ms: Sequence[Sequence[int]]
    ) -> tuple[NDArray[np.float32], list[str]]:
        return np.tile(np.array(list(self._scores.values()), np.float32), (len(sequences), 1)), list(self._scores)
