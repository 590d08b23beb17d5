"""Freshet itself under evaluation: the encoder, the fast memory, and the blend that the validation events taught."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from models.encoder.batches import SequenceData
from models.evaluation.ranks import IntArray
from models.memory.blend import BlendConfig, BlendWeights
from models.memory.blocks import Block, blocks_by_time
from models.memory.learner import OnlineLearner
from models.memory.transitions import MemoryConfig
from models.rivals.recommender import FitReport, Recommender

Scores = NDArray[np.float32]

BATCH_SIZE = 256
ORDER_SEED = 0


class BlendedRecommender:
    """A slow model and what learns beside it.

    With validation events, the blend learns from them under the conditions that the test asks under: model and memory
    have learned the training events and nothing since, and the order says nothing, so it is drawn (in the order of time
    the weights would end as the last of them would have it). It learns among items that training saw: beside others,
    any count tells little more than whether training saw the item. Without validation events it keeps the weights it
    was given.

    Args:
        name: as on the command line.
        slow: the model.
        memory: of the transitions.
        blend: how its weights are learned.
        weights: of the blend, as chosen on validation; the configured start when None.
    """

    def __init__(
        self,
        name: str,
        slow: Recommender,
        *,
        memory: MemoryConfig | None = None,
        blend: BlendConfig | None = None,
        weights: BlendWeights | None = None,
    ) -> None:
        self.name = name
        self._slow, self._memory, self._blend = slow, memory, blend
        self._start = weights
        self._learner = self._new_learner()

    @property
    def weights(self) -> BlendWeights:
        """Of the blend, as they are now."""
        return self._learner.blend.weights

    def fit(
        self, train: SequenceData, *, validation: SequenceData | None, on_epoch: Callable[[FitReport], None]
    ) -> None:
        """Train the model, then let the memory live through the same events in the order of time."""
        self._slow.fit(train, validation=validation, on_epoch=on_epoch)
        self._learner = self._new_learner()
        for block in _all_blocks(train):
            self._apply(train, block)
        if validation is not None:
            asked = [block for block in _all_blocks(validation) if validation.is_target[block.begin : block.end].any()]
            drawn = [asked[at] for at in np.random.default_rng(ORDER_SEED).permutation(len(asked)).tolist()]
            for at in range(0, len(drawn), BATCH_SIZE):
                self._learn(validation, drawn[at : at + BATCH_SIZE], learned=np.unique(train.rows))

    def scores(self, histories: Sequence[IntArray], times_ms: Sequence[IntArray]) -> Scores:
        """(B, N) utilities."""
        slow = self._slow.scores(histories, times_ms)
        rows = [self._learner.utilities(row, history) for row, history in zip(slow, histories, strict=True)]
        return np.stack(rows) if rows else slow

    def _new_learner(self) -> OnlineLearner:
        return OnlineLearner.new(memory=self._memory, blend=self._blend, weights=self._start)

    def _learn(self, data: SequenceData, blocks: Sequence[Block], *, learned: IntArray) -> None:
        """Predict and learn each block's targets among the items `learned` in training."""
        spans = [slice(block.first, block.begin) for block in blocks]
        scores = self._slow.scores([data.rows[span] for span in spans], [data.ts_ms[span] for span in spans])
        slow = np.full_like(scores, -np.inf)
        slow[:, learned] = scores[:, learned]
        for block, span, row in zip(blocks, spans, slow, strict=True):
            if block.begin > block.first:
                parts = self._learner.parts(row, data.rows[span])
                is_target = data.is_target[block.begin : block.end]
                for target in data.rows[block.begin : block.end][is_target].tolist():
                    self._learner.blend.learn(parts, target)

    def _apply(self, data: SequenceData, block: Block) -> None:
        items, times = data.rows[block.begin : block.end].tolist(), data.ts_ms[block.begin : block.end].tolist()
        self._learner.apply(data.rows[block.first : block.begin], items, times)


def _all_blocks(data: SequenceData) -> list[Block]:
    return blocks_by_time(data, since_ms=int(data.ts_ms.min(initial=0)), until_ms=int(data.ts_ms.max(initial=0)) + 1)
