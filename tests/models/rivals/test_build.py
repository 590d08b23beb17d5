import numpy as np
import pytest

from models.encoder.batches import SequenceData
from models.rivals.build import M2SE, NAMES, NEXT_ITEM, build, settings_of
from models.rivals.recommender import Catalogue, FitReport
from tests.models.encoder_fixtures import N_ITEMS, small_content
from tests.models.rival_fixtures import cyclic_data

HAS_ID = np.arange(N_ITEMS) % 6 != 5  # items 5 and 11 are withheld
CATALOGUE = Catalogue(N_ITEMS, small_content(), HAS_ID)
WALK = cyclic_data(6, 5, n_items=5)


@pytest.mark.parametrize("name", NAMES)
def test_every_model_is_fitted_and_scores_the_whole_catalogue(name: str) -> None:
    model = build(name, CATALOGUE, seed=1, n_epochs=3)
    reports: list[FitReport] = []

    model.fit(WALK, validation=None, on_epoch=reports.append)
    scores = model.scores([np.array([1, 2]), np.array([], np.int64)], [np.array([0, 1]), np.array([], np.int64)])

    assert model.name == name
    assert scores.shape == (2, N_ITEMS)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    assert [report.epoch for report in reports] in ([], [1, 2, 3])


@pytest.mark.parametrize("name", ["m2se", "m2se-pretrained", "m2se-no-moe", "m2se-text-only", "unisrec"])
def test_models_with_content_tell_withheld_items_apart(name: str) -> None:
    model = build(name, CATALOGUE, seed=1, n_epochs=3)
    model.fit(WALK, validation=None, on_epoch=lambda _: None)

    scores = model.scores([np.array([1, 2])], [np.array([0, 1])])

    assert scores[0, 5] != scores[0, 11]


@pytest.mark.parametrize("name", ["gru4rec", "sasrec", "m2se-id-only"])
def test_models_without_content_cannot(name: str) -> None:
    model = build(name, CATALOGUE, seed=1, n_epochs=1)
    model.fit(WALK, validation=None, on_epoch=lambda _: None)

    scores = model.scores([np.array([1, 2])], [np.array([0, 1])])

    assert scores[0, 5] == scores[0, 11]


def test_only_a_model_with_time_buckets_tells_gaps_apart() -> None:
    histories = [np.array([1, 2])] * 2
    times_ms = [np.array([0, 1_000]), np.array([0, 90_000_000])]
    after = {}
    for name in ("m2se", "m2se-time-buckets"):
        model = build(name, CATALOGUE, seed=1, n_epochs=3)
        model.fit(WALK, validation=None, on_epoch=lambda _: None)
        after[name] = model.scores(histories, times_ms)

    assert np.allclose(*after["m2se"])
    assert not np.allclose(*after["m2se-time-buckets"], atol=1e-3)


def test_ablations_differ_from_the_whole_in_what_they_are_named_for() -> None:
    assert M2SE["m2se-no-mixup"].max_mixup == 0
    assert M2SE["m2se-no-cmcl"].cmcl_weight == 0
    assert M2SE["m2se-no-msnip"].msnip_weight == 0
    assert M2SE["m2se-no-pretraining"].pretrain_epochs == 0
    assert M2SE["m2se-pretrained"].finetune_epochs == 0
    assert M2SE["m2se-logq"].msnip_logq
    assert not M2SE["m2se"].msnip_logq
    assert M2SE["m2se-long"].finetune_epochs == 2 * M2SE["m2se"].finetune_epochs


@pytest.mark.parametrize("name", ["sasrec-long", "m2se-long", "m2se-time-buckets-long"])
def test_a_long_training_goes_on_to_the_end_of_its_falling_rate_whatever_validation_says(name: str) -> None:
    validation = SequenceData(WALK.rows, WALK.ts_ms, WALK.starts, WALK.is_target & (np.arange(len(WALK.rows)) % 5 == 4))
    reports: dict[str, list[FitReport]] = {name: [], name.removesuffix("-long"): []}

    for each, said in reports.items():
        build(each, CATALOGUE, seed=1).fit(WALK, validation=validation, on_epoch=said.append)

    short, long = reports[name.removesuffix("-long")], reports[name]
    n_pretrained = 0 if name in NEXT_ITEM else M2SE[name].pretrain_epochs
    assert len(short) < n_pretrained + 20  # so easy that it stops
    assert len(long) == n_pretrained + 40


def test_models_that_learn_differently_have_other_settings() -> None:
    settings = {name: repr(settings_of(name)) for name in NAMES}

    assert "n_time_buckets=32" in settings["m2se-time-buckets"]
    assert "n_experts=1," in settings["m2se-no-moe"]
    assert "learning_rate=0.003" in settings["freshet"]
    assert "n_time_buckets=32" in settings["freshet-time-buckets"]
    alike = [name for name in NAMES if list(settings.values()).count(settings[name]) > 1]
    assert alike == ["m2se-text-only", "m2se-image-only"]  # they differ in what they are shown


def test_an_unknown_name_is_answered_with_all_names() -> None:
    with pytest.raises(ValueError, match="no model is called 'm3se'; there are popularity, cooccurrence, memory, "):
        build("m3se", CATALOGUE, seed=0)


@pytest.mark.parametrize("name", ["content-knn", "unisrec", "m2se", "m2se-text-only"])
def test_models_of_content_need_a_catalogue_with_content(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} scores items by their content, and this catalogue has none"):
        build(name, Catalogue(3, None, np.ones(3, np.bool_)), seed=0)


def test_models_of_ids_need_no_content() -> None:
    model = build("m2se-id-only", Catalogue(N_ITEMS, None, HAS_ID), seed=0, n_epochs=1)
    model.fit(WALK, validation=None, on_epoch=lambda _: None)

    assert np.isfinite(model.scores([np.array([1])], [np.array([0])])).all()
