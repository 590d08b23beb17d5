"""Held-out events as questions: which item came next, given what the user had done before that second.

A user's same-second events are one block: each is asked from the state before the block, and none of the block's other
items is known.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.encoder.batches import MS_PER_SECOND, SequenceData, run_starts
from models.evaluation.ranks import NOT_A_CANDIDATE, Excluded, rank_counts, without
from models.evaluation.report import Tally
from models.ranker import Ranker


@dataclass(frozen=True)
class Example:
    """One question.

    Args:
        user: Whose event.
        history: Item ids before the event's second, oldest first, all of them.
        times_ms: Event time of each.
        target: The item that came.
        beside: Items of the target's second that are no candidates.
    """

    user: int
    history: tuple[str, ...]
    times_ms: tuple[int, ...]
    target: str
    beside: tuple[str, ...] = ()


def examples(
    data: SequenceData,
    item_ids: Sequence[str],
    *,
    asked: NDArray[np.bool_],
    limit: int,
    seed: int,
    is_cut: bool = False,
) -> list[Example]:
    """Questions about the events marked in `asked` whose user has a history.

    Args:
        data: All histories; rows index `item_ids`.
        item_ids: Ids of the catalogue rows.
        asked: (n_events,) bool.
        limit: At most so many, drawn by `seed`.
        seed: Of the draw.
        is_cut: Whether the histories were cut for these questions, so that what else came in a target's second was
            learned from; see `taken_out`.
    """
    users, spans = data.users(), question_spans(data, asked=asked, limit=limit, seed=seed)
    taken = taken_out(data, spans) if is_cut else [data.rows[first:end] for first, end, _ in spans.tolist()]
    return [
        Example(
            user=int(users[at]),
            history=tuple(item_ids[row] for row in data.rows[first:end]),
            times_ms=tuple(data.ts_ms[first:end].tolist()),
            target=item_ids[data.rows[at]],
            beside=tuple(item_ids[row] for row in rows[end - first :]),
        )
        for (first, end, at), rows in zip(spans.tolist(), taken, strict=True)
    ]


def question_spans(data: SequenceData, *, asked: NDArray[np.bool_], limit: int, seed: int) -> NDArray[np.int64]:
    """Where the questions of `examples` stand in `data`.

    Returns:
        (Q, 3): a history's first event, the end of it (the first event of the target's second), the target.
    """
    users = data.users()
    first = data.starts[users]  # where each event's user starts
    starts = run_starts(users, data.ts_ms // MS_PER_SECOND)
    block_start = np.repeat(starts, np.diff(starts, append=len(users)))
    usable = np.flatnonzero(asked & data.is_target & (block_start > first))
    if len(usable) > limit:
        usable = np.sort(np.random.default_rng(seed).choice(usable, limit, replace=False))
    return np.stack([first[usable], block_start[usable], usable], axis=1)


def taken_out(data: SequenceData, spans: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Which items are no candidates of a filtered question: all that its user had before the target.

    Those of the target's own second, which the history ends before, are among them unless they are asked as well: what
    is cut out of a longer history for one question leaves them in what was learned from.

    Args:
        data: as `question_spans` was given it; `is_target` marks what is asked.
        spans: (Q, 3) as it returned them.

    Returns:
        Q arrays of rows.
    """
    return [
        np.concatenate([data.rows[first:end], data.rows[end:at][~data.is_target[end:at]]])
        for first, end, at in spans.tolist()
    ]


def rank_examples(ranker: Ranker, questions: Sequence[Example], *, batch_size: int = 256) -> Tally:
    """Full filtered ranking of every question's target among the ranker's live items.

    A target that is not live stands behind all others; where the ranker knows nothing of a history, all items tie.
    """
    tally = Tally()
    for batch in _batched(questions, batch_size):
        scores, item_ids = ranker.scores([one.history for one in batch], [one.times_ms for one in batch])
        scores = np.where(scores.max(axis=1, keepdims=True) == -np.inf, np.float32(0), scores)
        row_of = {item_id: row for row, item_id in enumerate(item_ids)}
        targets = np.array([row_of.get(question.target, NOT_A_CANDIDATE) for question in batch], dtype=np.int64)
        is_live = scores[np.arange(len(batch)), targets] > -np.inf
        targets = np.where(is_live, targets, NOT_A_CANDIDATE)
        seen = Excluded.of([[row_of[item] for item in (*one.history, *one.beside) if item in row_of] for one in batch])
        counts = without(rank_counts(scores, targets), scores, targets, excluded=seen)
        tally.add([question.user for question in batch], counts)
    return tally


def _batched(questions: Sequence[Example], size: int) -> Iterator[Sequence[Example]]:
    for start in range(0, len(questions), size):
        yield questions[start : start + size]
