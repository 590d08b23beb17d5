"""What a training cycle learns from: segments of the training buffer as arrays, the fresh part told from the old.

The cycle's share is the fresh events with enough context before them, and a replay sample of old ones, so that what was
learned is not forgotten. A fixed hash-sample of users stays out of every cycle but the first: the gate watches them for
forgetting.
"""

import itertools
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from consumers.learning.segments import Segment
from models.encoder.batches import SequenceData

HOLDOUT_BUCKETS = 10_000


@dataclass(frozen=True)
class TrainingData:
    """Every usable event of the segments read.

    Args:
        sequences: Histories of all users; rows index `item_ids`.
        item_ids: Catalogue rows: the parent model's IDs first, then items with events, then the rest.
        n_ids: Leading items that own or get an ID vector.
        is_fresh: (n_events,) bool, events the parent model has not been trained on.
        is_held_out: (n_events,) bool, events of users kept out of continual cycles.
        is_organic: (n_events,) bool, events that followed no feed of ours.
        n_unknown: Events left out because the catalogue does not know their item.
    """

    sequences: SequenceData
    item_ids: tuple[str, ...]
    n_ids: int
    is_fresh: NDArray[np.bool_]
    is_held_out: NDArray[np.bool_]
    is_organic: NDArray[np.bool_]
    n_unknown: int


@dataclass(frozen=True)
class Sources:
    """What the arrays are made from.

    Args:
        events: Table with user_id, item_id, ts_ms, kind, feed_id, partition, offset; each event once.
        catalogue: Ids of all known items.
        parent_ids: Items that own an ID in the parent model, in its order.
        parent_offsets: Next offset by partition that the parent was trained up to; empty without a parent.
        sequence_kinds: Kinds that enter a sequence, each with whether it is a target.
        holdout_share: Share of users kept out of continual cycles.
    """

    events: pa.Table
    catalogue: Collection[str]
    parent_ids: Sequence[str]
    parent_offsets: Mapping[int, int]
    sequence_kinds: Mapping[str, bool]
    holdout_share: float


def build(sources: Sources) -> TrainingData:
    """Turn segments into arrays, grouped by user and time."""
    known = set(sources.catalogue) | set(sources.parent_ids)
    table = sources.events.filter(pc.is_in(sources.events["kind"], pa.array(list(sources.sequence_kinds), pa.string())))
    is_known = pc.is_in(table["item_id"], pa.array(sorted(known), pa.string()))
    n_unknown = len(table) - int(pc.sum(is_known).as_py() or 0)
    table = table.filter(is_known)
    item_ids, n_ids = _catalogue_order(table, sources)
    users, user_ids = _codes(table["user_id"])
    rows = pc.index_in(table["item_id"], pa.array(item_ids, pa.string())).to_numpy().astype(np.int64)
    ts_ms = table["ts_ms"].to_numpy().astype(np.int64)
    targets = pa.array([kind for kind, is_target in sources.sequence_kinds.items() if is_target], pa.string())
    is_target = pc.is_in(table["kind"], targets).to_numpy(zero_copy_only=False)
    order = np.lexsort((ts_ms, users))
    held_out = np.array([is_held_out(user_id, sources.holdout_share) for user_id in user_ids], np.bool_)
    return TrainingData(
        sequences=SequenceData.from_events(users[order], rows[order], ts_ms[order], is_target=is_target[order]),
        item_ids=item_ids,
        n_ids=n_ids,
        is_fresh=_is_after(table, sources.parent_offsets)[order],
        is_held_out=held_out[users][order] if len(users) else np.zeros(0, np.bool_),
        is_organic=table["feed_id"].is_null().to_numpy()[order],
        n_unknown=n_unknown,
    )


def before(events: pa.Table, offsets: Mapping[int, int]) -> pa.Table:
    """The events of a table that lie below the next offsets of their partitions."""
    return events.filter(pa.array(~_is_after(events, offsets)))


def begun_before(segments: Sequence[Segment], offsets: Mapping[int, int]) -> list[Segment]:
    """The segments that hold anything below the next offsets of the partitions."""
    return [
        segment
        for segment in segments
        if any(first < offsets.get(partition, 0) for partition, first in segment.from_.items())
    ]


def newest(segments: Sequence[Segment], max_rows: int) -> list[Segment]:
    """The newest segments that hold at most `max_rows` rows together, but at least one, oldest first."""
    totals = itertools.accumulate(segment.rows for segment in reversed(segments))
    n_fitting = max(1, sum(total <= max_rows for total in totals))
    return list(segments[-n_fitting:])


def newest_per_user(data: TrainingData, marked: NDArray[np.bool_], n: int) -> NDArray[np.bool_]:
    """(n_events,) bool, each user's last `n` of the marked events."""
    at = np.flatnonzero(marked)
    users = data.sequences.users()[at]
    last = np.searchsorted(users, users, side="right")  # where the user's marked events end
    mask = np.zeros(len(marked), np.bool_)
    mask[at[np.arange(len(at)) >= last - n]] = True
    return mask


def is_held_out(user_id: str, share: float) -> bool:
    """Whether a user belongs to the fixed sample kept out of continual cycles.

    >>> sum(is_held_out(f"user-{n}", 0.1) for n in range(1000))
    90
    """
    return zlib.crc32(user_id.encode()) % HOLDOUT_BUCKETS < share * HOLDOUT_BUCKETS


def cycle_share(data: TrainingData, *, window: int, replay_ratio: float, rng: np.random.Generator) -> SequenceData:
    """What one continual cycle trains on.

    Args:
        data: Everything.
        window: Context kept before a user's first fresh event, and the longest replayed stretch.
        replay_ratio: Old events replayed for each fresh one.
        rng: Draws whose old events are replayed, and which stretch.

    Returns:
        Fresh events as targets behind their context, and replayed stretches; held-out users are in neither.
    """
    sequences = data.sequences
    fresh = data.is_fresh & ~data.is_held_out
    since_fresh = _positions_after_first(sequences, fresh)
    kept = since_fresh >= -window
    is_target = fresh & sequences.is_target
    replayed = _replay(data, window=window, budget=int(replay_ratio * fresh.sum()), without=kept, rng=rng)
    return sequences.subset(kept | replayed, is_target | (replayed & sequences.is_target))


def _replay(
    data: TrainingData, *, window: int, budget: int, without: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Random stretches of at most `window` + 1 old events from random users, about `budget` events in all."""
    sequences = data.sequences
    starts, ends = sequences.starts[:-1], sequences.starts[1:]
    mask = np.zeros(len(sequences.rows), np.bool_)
    for user in rng.permutation(len(starts)):
        if budget <= 0:
            break
        start, end = starts[user], ends[user]
        if without[start:end].any() or data.is_held_out[start]:
            continue
        length = min(window + 1, end - start)
        begin = start + rng.integers(0, end - start - length + 1)
        mask[begin : begin + length] = True
        budget -= length
    return mask


def _positions_after_first(sequences: SequenceData, marked: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(n_events,) distance to the user's first marked event, very negative for users without one."""
    n = len(marked)
    never = 2 * n + 1
    first = np.full(len(sequences.starts) - 1, never, np.int64)
    users = sequences.users()
    at = np.flatnonzero(marked)
    np.minimum.at(first, users[at], at)
    distance: NDArray[np.int64] = np.arange(n) - first[users]
    return np.where(first[users] == never, np.iinfo(np.int64).min, distance)


def _catalogue_order(table: pa.Table, sources: Sources) -> tuple[tuple[str, ...], int]:
    parent = list(sources.parent_ids)
    have = set(parent)
    with_events = [item for item in pc.unique(table["item_id"]).to_pylist() if item not in have]
    have.update(with_events)
    rest = sorted(item for item in sources.catalogue if item not in have)
    return (*parent, *with_events, *rest), len(parent) + len(with_events)


def _codes(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    """A number for each distinct value, and the values."""
    encoded = pa.chunked_array(column.chunks, pa.string()).combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()


def _is_after(table: pa.Table, offsets: Mapping[int, int]) -> NDArray[np.bool_]:
    if not len(table):
        return np.zeros(0, np.bool_)
    partition = table["partition"].to_numpy().astype(np.int64)
    limits = np.zeros(int(partition.max()) + 1, np.int64)
    for number, offset in offsets.items():
        if number < len(limits):
            limits[number] = offset
    result: NDArray[np.bool_] = table["offset"].to_numpy() >= limits[partition]
    return result
