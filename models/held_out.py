"""Events held out of a first training, which stops when they are predicted best.

A sample of users give up their last target, and what came after it: a bounded number, so that asking costs little
beside an epoch. The events are not lost for good. Live, they lie below the offsets of the first model, where the replay
of every continual cycle draws from; so users whom no cycle learns from are not sampled. A refit with them, as `freshet
evaluate` makes it, would double the wait for a first model, for one event of a tenth of the users.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from models.content.table import ContentTable
from models.encoder.batches import SequenceData
from models.encoder.config import StoppingConfig, TrainingConfig
from models.encoder.m2se import M2SE
from models.encoder.stopping import Stopping
from models.encoder.training import Trainer
from models.encoder_scorer import EncoderScorer
from models.evaluation.ranks import BoolArray, IntArray
from models.evaluation.validation import ValidationSet
from models.examples import question_spans
from models.item_index import ItemIndex


@dataclass(frozen=True)
class HeldOut:
    """Histories cut in two.

    Args:
        train: What is left to learn from.
        validation: Histories of the sampled users alone; the held-out events are the targets.
    """

    train: SequenceData
    validation: SequenceData


def hold_out(data: SequenceData, *, may_lose: BoolArray, config: StoppingConfig, seed: int) -> HeldOut | None:
    """Hold the last targets of a sample of users out.

    Only what can be asked and ranked is held out: an item new to its user, after an earlier second, that others had,
    too. Events of a kind that is no target go with the target they follow.

    Args:
        data: All histories.
        may_lose: (n_events,) bool, events that may be held out.
        config: How many.
        seed: Of the draw.

    Returns:
        None where that would be fewer than `config.min_held_out`.
    """
    limit = min(config.max_held_out, int(config.max_share * (len(data.starts) - 1)))
    asked = _last_targets(data) & _is_first_time(data) & may_lose
    at = question_spans(data, asked=asked, limit=limit, seed=seed)[:, 2]
    learned = np.bincount(_cut(data, at).train.rows, minlength=int(data.rows.max(initial=0)) + 1)
    at = at[learned[data.rows[at]] > 0]
    return _cut(data, at) if len(at) >= config.min_held_out else None


def stopped_trainer(
    model: M2SE, content: ContentTable, held_out: HeldOut, config: TrainingConfig, *, stopping: StoppingConfig
) -> Trainer:
    """A first training, whose fine-tuning the held-out events stop.

    Args:
        model: Changed in place; its IDs are the leading rows of `content`.
        content: The catalogue; row i is row i of the histories.
        held_out: What to learn from, and what to stop by.
        config: As for any training, but for the number of fine-tuning epochs.
        stopping: That, and the patience.
    """
    trainer = Trainer(model, content, held_out.train, replace(config, finetune_epochs=stopping.max_epochs))
    owned = content.select(torch.arange(len(model.ids)))
    score = validation_score(model, owned, held_out.validation, seed=config.seed)
    trainer.stopping = Stopping(score, patience=stopping.patience)
    return trainer


def validation_score(model: M2SE, content: ContentTable, validation: SequenceData, *, seed: int) -> Callable[[], float]:
    """Filtered NDCG@10 of held-out events by the model as it stands, among the items of `content`.

    Args:
        model: May go on being trained between two calls.
        content: The items that own an ID; row i is row i of `validation`.
        validation: As `hold_out` gives it.
        seed: Of the draw, where there are too many to ask.
    """
    questions = ValidationSet(validation, candidates=np.ones(len(content), np.bool_), seed=seed)

    @torch.inference_mode()
    def score() -> float:
        scorer = EncoderScorer(model, content.item_ids)
        index = ItemIndex(*scorer.dims)
        index.append(content.item_ids, scorer.place(content))
        table = index.table()

        def scores_of(histories: Sequence[IntArray], times_ms: Sequence[IntArray]) -> NDArray[np.float32]:
            rows, known_ms = ([one.tolist() for one in column] for column in (histories, times_ms))
            scores: NDArray[np.float32] = scorer.scores(rows, known_ms, table).numpy()
            return scores

        return questions.ndcg_at_10(scores_of)

    return score


def _last_targets(data: SequenceData) -> BoolArray:
    """(n_events,) each user's last event that may be predicted."""
    at = np.flatnonzero(data.is_target)
    users = data.users()[at]
    is_last = np.zeros(len(data.rows), np.bool_)
    is_last[at[np.searchsorted(users, np.unique(users), side="right") - 1]] = True
    return is_last


def _is_first_time(data: SequenceData) -> BoolArray:
    """(n_events,) events whose item their user had never come to before."""
    pairs = data.users() * (int(data.rows.max(initial=0)) + 1) + data.rows
    is_first = np.zeros(len(data.rows), np.bool_)
    is_first[np.unique(pairs, return_index=True)[1]] = True
    return is_first


def _cut(data: SequenceData, at: IntArray) -> HeldOut:
    """Each of these users' histories ends before the event held out in training, and with it in validation."""
    users = data.users()
    cut = np.full(len(data.starts) - 1, len(data.rows))
    cut[users[at]] = at
    place = np.arange(len(data.rows))
    is_asked = np.zeros(len(data.rows), np.bool_)
    is_asked[at] = True
    is_sampled = cut[users] < len(data.rows)
    return HeldOut(
        train=data.subset(place < cut[users], data.is_target),
        validation=data.subset(is_sampled & (place <= cut[users]), is_asked),
    )
