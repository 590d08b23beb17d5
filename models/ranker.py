"""One model version, ready to answer: sequences of item ids in, the best items out.

Built from a bundle and the catalogue's content. The weights never change; items come and go through the index, and an
item without a learned ID is placed by its content alone.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.blending import BlendRows, FeedBlend
from models.content.table import ContentError, ContentTable
from models.encoder.config import EncoderConfig
from models.encoder.m2se import M2SE, ItemVectors
from models.item_index import ItemIndex, ItemTable
from models.memory.blend import Part
from models.registry.bundle import WEIGHTS, Bundle, Manifest, damaged, write_item_ids

BroughtBy = Callable[[Sequence[int]], Sequence[Part | None]]  # the part that brought each of these rows' items

NEWCOMER_K = 10  # answers of so many items keep a place for a newcomer


class UnknownItem(KeyError):
    """The item is not in the model's index: never seen, removed, or not encoded yet."""


@dataclass(frozen=True)
class FeedRequest:
    """Who asks.

    Args:
        items: The user's items, oldest first; unknown ones are passed over, only the newest `window` count.
        exclude: Items that may not be recommended.
        k: Items wanted.
        newcomers: Items that have just arrived. The best of them that owns no ID vector yet has the last place of an
            answer of at least `NEWCOMER_K` items, since scores favour what was already clicked.
    """

    items: Sequence[str]
    exclude: Collection[str] = ()
    k: int = 10
    newcomers: Collection[str] = ()


@dataclass(frozen=True)
class ScoredItem:
    """An item and its score, higher is better: the sum of both streams' cosines over the temperature, or the blend's.

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
        model: Trained encoder; put into evaluation mode.
        item_ids: Items that own the model's ID vectors, in order.
        manifest: Where the version came from.
    """

    def __init__(self, model: M2SE, item_ids: Sequence[str], manifest: Manifest) -> None:
        if len(item_ids) != len(model.ids):
            raise ValueError(f"{len(item_ids)} item ids for {len(model.ids)} ID vectors")
        self.model = model.eval()
        self.manifest = manifest
        self.version = manifest.version
        self._id_row = {item_id: row for row, item_id in enumerate(item_ids)}
        self._index = ItemIndex(model.config.dim)
        self._blend_rows = BlendRows(self._index.row)

    @classmethod
    def load(cls, bundle: Bundle, content: ContentTable) -> "Ranker":
        """Read a bundle and place every item of `content`.

        Raises:
            DamagedBundle: the weights do not fit the configuration in the manifest.
            ContentError: the content has other widths than the model was trained on.
        """
        model, item_ids = load_model(bundle)
        ranker = cls(model, item_ids, bundle.manifest)
        ranker.add_items(content)
        return ranker

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._index

    @property
    def owners(self) -> tuple[str, ...]:
        """Items that own an ID vector, in order."""
        return tuple(self._id_row)

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
        vectors = self.model.encode_content(content)
        rows = torch.tensor([self._id_row.get(item_id, -1) for item_id in content.item_ids])
        ids = torch.zeros_like(vectors.text)
        ids[rows >= 0] = self.model.ids[rows[rows >= 0]]
        self._index.append(content.item_ids, ItemVectors(vectors.text + ids, vectors.image + ids))

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
        scores, table = self._scores([request.items for request in requests])
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
        newcomers = [item_id for item_id in request.newcomers if item_id not in self._id_row]
        if len(best) < NEWCOMER_K or not {one.item_id for one in best}.isdisjoint(newcomers):
            return best
        rows = [row for row in self._rows(newcomers) if row < table.n and scores[row] > -torch.inf]
        if not rows:
            return best
        row = max(rows, key=lambda row: float(scores[row]))
        return [*best[:-1], ScoredItem(table.item_ids[row], float(scores[row]), is_newcomer=True)]

    @torch.inference_mode()
    def scores(self, sequences: Sequence[Sequence[str]]) -> tuple[NDArray[np.float32], list[str]]:
        """Score every item for each sequence, for evaluation.

        Returns:
            (B, N) float32 and the N item ids; -inf where an item is no longer live (an id may then stand twice, its
            live row last) or no item of the sequence is known.
        """
        scores, table = self._scores(sequences)
        return scores.numpy(), table.item_ids[: table.n]

    @torch.inference_mode()
    def similar(self, item_id: str, k: int) -> list[ScoredItem]:
        """The items closest to one, by the mean cosine of both modalities in [-1, 1], without itself.

        Raises:
            UnknownItem: it is not in the index.
        """
        row = self._index.row(item_id)
        if row is None:
            raise UnknownItem(item_id)
        table = self._index.table()
        scores = table.directions[: table.n] @ table.directions[row] / 2.0
        scores = scores.masked_fill(~table.alive[: table.n], -torch.inf)
        scores[row] = -torch.inf
        return [one for one in _best(scores, table, k) if one.item_id != item_id]  # placed anew meanwhile

    def _check_widths(self, content: ContentTable) -> None:
        config = self.model.config
        for name, parts, wanted in (
            ("text", content.text, config.text_dim),
            ("image", content.image, config.image_dim),
        ):
            if parts.shape[2] != wanted:
                raise ContentError(
                    f"{name} parts are {parts.shape[2]} wide, {self.version} was trained on {wanted}; "
                    f"encode them with its towers"
                )

    def _rows(self, item_ids: Collection[str]) -> list[int]:
        return [row for item_id in item_ids if (row := self._index.row(item_id)) is not None]

    def _scores(self, sequences: Sequence[Sequence[str]]) -> tuple[Tensor, ItemTable]:
        """Scores (B, N) under one moment of the index; -inf for dead rows and for sequences without a known item."""
        window = self.model.config.window
        rows = [self._rows(sequence)[-window:] for sequence in sequences]
        table = self._index.table()
        states = self._last_states(rows, table.vectors)
        scores = states @ table.directions[: table.n].T / self.model.config.temperature
        scores.masked_fill_(~table.alive[: table.n], -torch.inf)
        empty = torch.tensor([not known for known in rows], dtype=torch.bool)
        return scores.masked_fill_(empty[:, None], -torch.inf), table

    def _last_states(self, rows: Sequence[Sequence[int]], vectors: ItemVectors) -> Tensor:
        """State after each sequence's last item, (B, 2D); shorter sequences are padded on the right with row 0."""
        lengths = torch.tensor([max(len(known), 1) for known in rows], dtype=torch.int64)
        padded = torch.zeros(len(rows), int(lengths.max()) if rows else 1, dtype=torch.int64)
        for at, known in enumerate(rows):
            padded[at, : len(known)] = torch.tensor(known, dtype=torch.int64)
        states = self.model.encode_sequences(vectors.at(padded))
        return states[torch.arange(len(rows)), lengths - 1]


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


def load_model(bundle: Bundle) -> tuple[M2SE, tuple[str, ...]]:
    """The encoder of a bundle and the items that own its ID vectors.

    Raises:
        DamagedBundle: weights, configuration and item ids do not fit each other.
    """
    item_ids = bundle.item_ids()
    try:
        model = M2SE(EncoderConfig.from_dict(bundle.manifest.config["encoder"]), n_ids=len(item_ids))
        model.load_state_dict(load_file(bundle.weights))
    except (KeyError, TypeError, ValueError, RuntimeError, OSError, SafetensorError) as exc:
        why = " ".join(str(exc).split())[:300]  # torch writes several lines
        raise damaged(bundle.path, f"{WEIGHTS} does not fit the configuration: {why}") from exc
    return model.eval(), item_ids


def write_model(folder: Path, model: M2SE, item_ids: Sequence[str]) -> None:
    """Write weights and item ids into a bundle's stage.

    Raises:
        ValueError: the model reads times, and the histories a live model is asked with have none.
    """
    if model.config.n_time_buckets:
        raise ValueError(
            f"n_time_buckets={model.config.n_time_buckets}: time buckets are for offline evaluation as yet, since live "
            f"histories come without times; publish a model without them"
        )
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / WEIGHTS)
    write_item_ids(folder, item_ids)
