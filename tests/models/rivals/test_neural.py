from dataclasses import replace

import numpy as np
import pytest

from models.encoder.batches import SequenceData
from models.encoder.loop import TrainingDiverged
from models.evaluation.ranks import BoolArray
from models.rivals.config import NextItemConfig
from models.rivals.learners import Learner, NextItemLearner
from models.rivals.neural import NeuralRecommender
from models.rivals.numbering import Numbering
from models.rivals.recommender import Catalogue, FitReport
from tests.models.encoder_fixtures import N_ITEMS, small_content
from tests.models.rival_fixtures import SMALL, cyclic_data

ALL = np.ones(N_ITEMS, np.bool_)
TRAIN = cyclic_data()


def recommender(
    config: NextItemConfig = SMALL, *, n_epochs: int | None = None, has_id: BoolArray = ALL, text: bool = False
) -> NeuralRecommender:
    def new_learner(data: SequenceData, numbering: Numbering) -> Learner:
        return NextItemLearner(data, config, n_owners=numbering.n_owners, content=small_content() if text else None)

    catalogue = Catalogue(N_ITEMS, small_content(), has_id)
    return NeuralRecommender("sasrec", catalogue, new_learner, n_epochs=n_epochs)


def last_events(data: SequenceData) -> SequenceData:
    """The same histories, each user's last event to be predicted."""
    is_target = np.zeros(len(data.rows), np.bool_)
    is_target[data.starts[1:] - 1] = True
    return SequenceData(data.rows, data.ts_ms, data.starts, is_target)


def fit(model: NeuralRecommender, train: SequenceData, validation: SequenceData | None = None) -> list[FitReport]:
    reports: list[FitReport] = []
    model.fit(train, validation=validation, on_epoch=reports.append)
    return reports


def scores(model: NeuralRecommender, *histories: list[int]) -> np.ndarray:
    rows = [np.array(history, dtype=np.int64) for history in histories]
    return model.scores(rows, [60_000 * np.arange(len(row)) for row in rows])


def test_epochs_are_counted_from_one_and_all_are_trained_without_validation() -> None:
    reports = fit(recommender(), TRAIN)

    assert [(report.epoch, report.n_targets, report.validation) for report in reports] == [
        (1, 96, None),
        (2, 96, None),
        (3, 96, None),
    ]
    assert all(report.seconds > 0 for report in reports)


def test_the_given_number_of_epochs_ends_where_a_longer_run_had_been() -> None:
    longer, short = recommender(), recommender(n_epochs=2)

    reports, short_reports = fit(longer, TRAIN), fit(short, TRAIN)

    assert [report.loss for report in short_reports] == [report.loss for report in reports[:2]]


def test_training_stops_when_validation_gets_no_better_and_keeps_the_best_epoch() -> None:
    config = replace(SMALL, train_epochs=60, train_lr=3e-2)
    stopped = recommender(config)

    reports = fit(stopped, TRAIN, last_events(cyclic_data(length=10)))

    values = [report.validation or 0.0 for report in reports]
    best = int(np.argmax(values)) + 1
    assert values[best - 1] > 0.9
    assert len(reports) == best + 5
    again = recommender(config, n_epochs=best)
    fit(again, TRAIN)
    assert np.array_equal(scores(stopped, [3, 4]), scores(again, [3, 4]))


def test_the_best_epoch_stays_where_the_given_number_ends_the_training_too() -> None:
    config, validation = replace(SMALL, train_epochs=60, train_lr=3e-2), last_events(cyclic_data(length=10))
    values = [report.validation or 0.0 for report in fit(recommender(config), TRAIN, validation)]
    best = int(np.argmax(values)) + 1
    ended, chosen = recommender(config, n_epochs=best + 2), recommender(config, n_epochs=best)

    reports = fit(ended, TRAIN, validation)
    fit(chosen, TRAIN)

    assert len(reports) == best + 2
    assert np.array_equal(scores(ended, [3, 4]), scores(chosen, [3, 4]))


def test_the_best_item_after_a_walk_is_the_next() -> None:
    model = recommender(replace(SMALL, train_epochs=40))
    fit(model, TRAIN)

    assert scores(model, [1, 2, 3], [9, 10, 11], [7]).argmax(1).tolist() == [4, 0, 8]


def test_only_the_newest_items_count() -> None:
    model = recommender()
    fit(model, TRAIN)

    newest = [4, 5, 6, 7, 8, 9]  # the window is 6
    assert np.array_equal(scores(model, newest), scores(model, [0, 1, 2, *newest]))


def test_without_a_history_all_items_tie() -> None:
    model = recommender()
    fit(model, TRAIN)

    assert scores(model, [], [3]).tolist()[0] == [0.0] * N_ITEMS
    assert scores(model).shape == (0, N_ITEMS)


def test_a_model_of_ids_places_withheld_items_behind_all_others_and_passes_over_them() -> None:
    has_id = np.arange(N_ITEMS) >= 2
    walk = cyclic_data(n_items=10)
    model = recommender(has_id=has_id)
    fit(model, SequenceData(walk.rows + 2, walk.ts_ms, walk.starts, walk.is_target))

    both = scores(model, [5, 6], [0, 5, 1, 6])

    assert np.isfinite(both).all()
    assert both[0, 0] == both[0, 1] == both[0, 2:].min() - 1
    assert np.array_equal(both[0], both[1])


def test_a_model_of_text_places_withheld_items_among_the_others() -> None:
    walk = cyclic_data(n_items=10)
    model = recommender(replace(SMALL, train_epochs=10), has_id=np.arange(N_ITEMS) < 10, text=True)
    fit(model, walk)

    after = scores(model, [5, 6], [5, 10])

    assert after[:, 10].min() > after.min()
    assert after[0, 10] != after[0, 11]
    assert not np.array_equal(after[0], after[1])


def test_a_failed_fit_leaves_the_model_that_was_there() -> None:
    model = recommender()
    fit(model, TRAIN)
    before = scores(model, [3, 4])
    wild = cyclic_data()
    wild.rows[0] = 1

    def stop(report: FitReport) -> None:
        raise TrainingDiverged("by hand")

    with pytest.raises(TrainingDiverged, match="by hand"):
        model.fit(wild, validation=None, on_epoch=stop)

    assert np.array_equal(scores(model, [3, 4]), before)


def test_scores_before_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="sasrec has not been fitted; call fit before scores"):
        scores(recommender(), [1])


def test_no_epochs_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="n_epochs=0 must be at least 1; leave it out to stop by validation"):
        recommender(n_epochs=0)


def test_catalogue_of_different_sizes_is_refused() -> None:
    with pytest.raises(ValueError, match="n_items=3, content of 12 items, has_id of 12"):
        Catalogue(3, small_content(), ALL)
    with pytest.raises(ValueError, match="none of the 12 items owns an ID"):
        Catalogue(N_ITEMS, small_content(), ~ALL)
