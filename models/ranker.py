"""One model version, ready to answer: sequences of item ids in, the best items out.

The weights never change; items come and go through the index. What a score is, says the version's `Scorer`: M2SE's
(`encoder_scorer.py`) or a rival's (`rivals/served_*.py`). `loading.py` makes a ranker from a bundle of any kind.
"""

from collections.abc import Callable, Collection, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import KW_ONLY, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.blending import BlendRows, FeedBlend
from models.content.table import ContentError, ContentTable
from models.encoder.time_gaps import UNKNOWN_MS
from models.item_index import ItemIndex, ItemTable
from models.memory.blend import Part
from models.registry.bundle import Manifest
from models.scorer import Scorer

BroughtBy = Callable[[Sequence[int]], Sequence[Part | None]]  # the part that brought each of these rows' items

NEWCOMER_K = 10  # answers of so many items keep a place for a newcomer


class UnknownItem(KeyError):
    """The item is not in the model's index: never seen, removed, or not encoded yet."""


@dataclass(frozen=True)
class FeedRequest:
    """Who asks.

    Args:
        items: The user's items, oldest first; unknown ones are passed over, only the newest `window` count.
        times_ms: When each of them came, event time; empty where nobody knows.
        exclude: Items that may not be recommended.
        k: Items wanted.
        newcomers: Items that have just arrived. The best of them that owns no ID vector yet has the last place of an
            answer of at least `NEWCOMER_K` items, since scores favour what was already clicked.
    """

    items: Sequence[str]
    times_ms: Sequence[int] = ()
    _: KW_ONLY
    exclude: AbstractSet[str] = frozenset()
    k: int = 10
    newcomers: Collection[str] = ()


@dataclass(frozen=True)
class ScoredItem:
    """An item and its score, higher is better: the model's own (`Scorer`), or the blend's.

    Attributes:
        is_newcomer: It has its place as a newcomer, not by its score.
        brought_by: The part of the blend that lifts it most; None without a blend, and for a newcomer.
    """

    item_id: str
    score: float
    is_newcomer: bool = False
    brought_by: Part | None = None


class Ranker:
    """A model version with the items it can rank.

    Args:
        scorer: The model.
        manifest: Where the version came from.
    """

    def __init__(self, scorer: Scorer, manifest: Manifest) -> None:
        self.scorer = scorer
        self.manifest = manifest
        self.version = manifest.version
        self._owners = frozenset(scorer.owners)
        self._index = ItemIndex(*scorer.dims)
        self._blend_rows = BlendRows(self._index.row)

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._index

    @property
    def owners(self) -> tuple[str, ...]:
        """Items of which the model learned something by their ID, in order."""
        return tuple(self.scorer.owners)

    @property
    def n_items(self) -> int:
        """Items that can be recommended now."""
        return len(self._index)

    @property
    def item_ids(self) -> list[str]:
        """Items that can be recommended now."""
        return self._index.live_ids()

    @torch.inference_mode()
    def add_items(self, content: ContentTable) -> None:
        """Place items, or place them anew after their content changed.

        Raises:
            ContentError: the content has other widths than the model was trained on; nothing is placed.
        """
        if not len(content):
            return
        self._check_widths(content)
        self._index.append(content.item_ids, self.scorer.place(content))

    def remove_items(self, item_ids: Sequence[str]) -> None:
        """Recommend these items no more."""
        self._index.remove(item_ids)

    @torch.inference_mode()
    def recommend(self, requests: Sequence[FeedRequest], *, blend: FeedBlend | None = None) -> list[list[ScoredItem]]:
        """The best items for each request, best first; empty where no item of a request is known.

        Args:
            requests: Answered together, by one moment of the index.
            blend: What else there is to say of the items; the model's word alone when None.
        """
        excluded = [self._rows(request.exclude) for request in requests]
        times_ms = [request.times_ms or [UNKNOWN_MS] * len(request.items) for request in requests]
        scores, table = self._scores([request.items for request in requests], times_ms)
        answers = []
        for request, row, gone in zip(requests, scores, excluded, strict=True):
            row[gone] = -torch.inf
            ranked, brought_by = self._blended(row, request, table, blend)
            best = _best(ranked, table, request.k, brought_by)
            best = [one for one in best if one.item_id not in request.exclude]  # placed anew meanwhile
            answers.append(self._with_newcomer(best, ranked, table, request))
        return answers

    def _blended(
        self, scores: Tensor, request: FeedRequest, table: ItemTable, blend: FeedBlend | None
    ) -> tuple[Tensor, BroughtBy]:
        """Scores (N,) to rank by, and who brought an item."""
        if blend is None or not bool((scores > -torch.inf).any()):
            return scores, _nobody
        blended = self._blend_rows.blended(blend, scores.numpy(), request.items, table)
        return torch.from_numpy(blended.utilities), blended.brought_by

    def _with_newcomer(
        self, best: list[ScoredItem], scores: Tensor, table: ItemTable, request: FeedRequest
    ) -> list[ScoredItem]:
        """Give the last place to the best newcomer, unless one stands there by its own score."""
        newcomers = [one for one in request.newcomers if one not in self._owners and one not in request.exclude]
        if len(best) < NEWCOMER_K or not {one.item_id for one in best}.isdisjoint(newcomers):
            return best
        rows = [row for row in self._rows(newcomers) if row < table.n and scores[row] > -torch.inf]
        if not rows:
            return best
        row = max(rows, key=lambda row: float(scores[row]))
        return [*best[:-1], ScoredItem(table.item_ids[row], float(scores[row]), is_newcomer=True)]

    @torch.inference_mode()
    def scores(
        self, sequences: Sequence[Sequence[str]], times_ms: Sequence[Sequence[int]]
    ) -> tuple[NDArray[np.float32], list[str]]:
        """Score every item for each sequence, for evaluation.

        Args:
            sequences: B of item ids, oldest first.
            times_ms: event time of each item, or `UNKNOWN_MS`.

        Raises:
            ValueError: a sequence has other than one time an item.

        Returns:
            (B, N) float32 and the N item ids; -inf where an item is no longer live (an id may then stand twice, its
            live row last) or no item of the sequence is known.
        """
        scores, table = self._scores(sequences, times_ms)
        return scores.numpy(), table.item_ids[: table.n]

    @torch.inference_mode()
    def similar(self, item_id: str, k: int) -> list[ScoredItem]:
        """The items closest to one, as the model has it, without itself; none where it knows nothing of the item.

        Raises:
            UnknownItem: it is not in the index.
        """
        row = self._index.row(item_id)
        if row is None:
            raise UnknownItem(item_id)
        table = self._index.table()
        scores = self.scorer.similar(row, table)
        scores = scores.masked_fill(~table.alive[: table.n], -torch.inf)
        scores[row] = -torch.inf
        return [one for one in _best(scores, table, k) if one.item_id != item_id]  # placed anew meanwhile

    def _check_widths(self, content: ContentTable) -> None:
        wanted = dict(zip(("text", "image"), self.scorer.content_dims, strict=True))
        for (name, width), parts in zip(wanted.items(), (content.text, content.image), strict=True):
            if width is not None and parts.shape[2] != width:
                raise ContentError(
                    f"{name} parts are {parts.shape[2]} wide, {self.version} was trained on {width}; "
                    f"encode them with its towers"
                )

    def _rows(self, item_ids: Collection[str]) -> list[int]:
        return [row for item_id in item_ids if (row := self._index.row(item_id)) is not None]

    def _scores(
        self, sequences: Sequence[Sequence[str]], times_ms: Sequence[Sequence[int]]
    ) -> tuple[Tensor, ItemTable]:
        """Scores (B, N) under one moment of the index; -inf for dead rows and for sequences without a known item."""
        for sequence, times in zip(sequences, times_ms, strict=True):
            _check_times(sequence, times)
        found = [list(map(self._index.row, sequence)) for sequence in sequences]
        rows = [[row for row in one if row is not None] for one in found]
        known_ms = [
            [at_ms for row, at_ms in zip(one, those, strict=True) if row is not None]
            for one, those in zip(found, times_ms, strict=True)
        ]
        table = self._index.table()
        scores = self.scorer.scores(rows, known_ms, table)
        scores.masked_fill_(~table.alive[: table.n], -torch.inf)
        empty = torch.tensor([not known for known in rows], dtype=torch.bool)
        return scores.masked_fill_(empty[:, None], -torch.inf), table


def _check_times(items: Sequence[str], times_ms: Sequence[int]) -> None:
    if len(times_ms) != len(items):
        raise ValueError(f"{len(times_ms)} times for {len(items)} items; give one each, or none where nobody knows")


def _nobody(rows: Sequence[int]) -> list[Part | None]:
    return [None] * len(rows)


def _best(scores: Tensor, table: ItemTable, k: int, brought_by: BroughtBy = _nobody) -> list[ScoredItem]:
    """Top k of scores (N,), dead and excluded rows left out."""
    values, indices = scores.topk(min(k, len(scores)))
    rows = indices.tolist()
    return [
        ScoredItem(table.item_ids[row], value, brought_by=part)
        for value, row, part in zip(values.tolist(), rows, brought_by(rows), strict=True)
        if value > -torch.inf
    ]
