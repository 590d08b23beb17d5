"""Every rival as a model version: what it scores, saved, loaded, and with items it was never fitted on."""

import dataclasses
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.content.table import ContentError, ContentTable
from models.loading import load_ranker
from models.ranker import FeedRequest, Ranker
from models.registry.bundle import WEIGHTS, Bundle, DamagedBundle, Manifest, UnknownKind
from models.rivals.build import build
from models.rivals.recommender import Catalogue, Recommender
from models.rivals.served import CONFIG, LOADERS, ServedRival, served
from tests.models.encoder_fixtures import N_ITEMS, small_content
from tests.models.ranker_fixtures import manifest, registry_in
from tests.models.rival_fixtures import cyclic_data

N_KNOWN = 10  # of the 12 items, the last two never came in training
WALK = cyclic_data(n_items=N_KNOWN)
HISTORIES = [[1, 2, 3], [9], [0, 4, 4, 7, 8, 2, 1], [5, 11, 6]]
EVERY_RIVAL = pytest.mark.parametrize("name", LOADERS)
BY_ID = ["popularity", "cooccurrence", "gru4rec", "sasrec", "sasrec-long", "sasrec-time-buckets-long"]
BY_CONTENT = ["content-knn", "unisrec"]


def fitted(name: str) -> Recommender:
    rival = build(name, Catalogue(N_ITEMS, small_content(), np.arange(N_ITEMS) < N_KNOWN), seed=1, n_epochs=2)
    rival.fit(WALK, validation=None, on_epoch=lambda _: None)
    return rival


def draft(name: str, rival: ServedRival) -> Manifest:
    return dataclasses.replace(manifest("v1"), kind=name, config={CONFIG: rival.config()})


def ranker_of(name: str, content: ContentTable | None = None) -> Ranker:
    rival = served(fitted(name), small_content())
    ranker = Ranker(rival, draft(name, rival))
    ranker.add_items(small_content() if content is None else content)
    return ranker


def published(name: str, folder: Path) -> Bundle:
    registry = registry_in(folder)
    rival = served(fitted(name), small_content())
    stage = registry.stage()
    rival.save(stage)
    return registry.open(registry.publish(stage, draft(name, rival)))


def ids(rows: list[int]) -> list[str]:
    return [f"item-{row}" for row in rows]


def ask(ranker: Ranker, histories: list[list[str]]) -> tuple[np.ndarray, list[str]]:
    """After histories of one moment."""
    return ranker.scores(histories, [[0] * len(history) for history in histories])


def with_newcomers(*names: str) -> ContentTable:
    content = small_content()
    rows = torch.tensor([3] * len(names))
    twins = ContentTable(
        names, content.text[rows], content.text_mask[rows], content.image[rows], content.image_mask[rows]
    )
    return content.concat(twins)


@EVERY_RIVAL
def test_saved_and_loaded_it_scores_the_same_bit_for_bit(name: str, tmp_path: Path) -> None:
    before = ranker_of(name)

    after = load_ranker(published(name, tmp_path), small_content())

    histories = [ids(history) for history in HISTORIES]
    np.testing.assert_array_equal(ask(after, histories)[0], ask(before, histories)[0])
    assert (after.owners, after.item_ids) == (before.owners, before.item_ids)
    assert after.manifest.kind == name
    assert after.manifest.config[CONFIG] == before.manifest.config[CONFIG]


@EVERY_RIVAL
def test_feed_is_the_ranking_of_the_recommender_that_was_fitted(name: str) -> None:
    times_ms = [[60_000 * at**2 for at in range(len(history))] for history in HISTORIES]
    expected = fitted(name).scores([np.array(row) for row in HISTORIES], [np.array(row) for row in times_ms])

    asked = zip(HISTORIES, times_ms, strict=True)
    feeds = ranker_of(name).recommend([FeedRequest(ids(history), times, k=N_ITEMS) for history, times in asked])

    for feed, scores in zip(feeds, expected, strict=True):
        offline = [float(scores[int(one.item_id.removeprefix("item-"))]) for one in feed]
        assert offline == pytest.approx(sorted(scores, reverse=True), abs=1e-4)
        came = [at for at, one in enumerate(feed) if one.item_id in ids([*range(N_KNOWN)])]
        assert [feed[at].score for at in came] == pytest.approx([offline[at] for at in came], abs=1e-4)


@EVERY_RIVAL
def test_order_of_the_index_is_not_the_order_of_training(name: str) -> None:
    turned = small_content().select(torch.arange(N_ITEMS - 1, -1, -1))
    history = [ids([1, 2, 3])]

    turned_scores, item_ids = ask(ranker_of(name, turned), history)
    plain, plain_ids = ask(ranker_of(name), history)

    by_id = dict(zip(plain_ids, plain[0].tolist(), strict=True))
    assert turned_scores[0].tolist() == pytest.approx([by_id[item_id] for item_id in item_ids], abs=1e-5)


@EVERY_RIVAL
def test_items_that_come_one_after_the_other_score_as_all_at_once(name: str) -> None:
    history = [ids([1, 2, 3])]
    expected, _ = ask(ranker_of(name), history)
    ranker = ranker_of(name, small_content().select(torch.arange(5)))
    ask(ranker, history)

    ranker.add_items(small_content().select(torch.arange(5, N_ITEMS)))

    np.testing.assert_allclose(ask(ranker, history)[0], expected, atol=1e-5)


@pytest.mark.parametrize("name", BY_ID)
def test_new_item_stands_behind_what_came_and_is_shown_as_a_newcomer(name: str) -> None:
    ranker = ranker_of(name)
    ranker.add_items(with_newcomers("older", "newest"))

    plain, kept = ranker.recommend(
        [FeedRequest(["item-1"], k=N_KNOWN), FeedRequest(["item-1"], k=N_KNOWN, newcomers=["newest", "older"])]
    )

    assert {one.item_id for one in plain} == {*ids([*range(N_KNOWN)])}
    assert [one.item_id for one in kept[:-1]] == [one.item_id for one in plain[:-1]]
    assert (kept[-1].item_id, kept[-1].is_newcomer) == ("newest", True)
    assert np.isfinite(kept[-1].score)


@pytest.mark.parametrize("name", BY_CONTENT)
def test_new_item_with_content_of_another_is_placed_beside_it(name: str) -> None:
    ranker = ranker_of(name)
    ranker.add_items(with_newcomers("twin"))

    scores, item_ids = ask(ranker, [ids([1, 2])])

    by_id = dict(zip(item_ids, scores[0].tolist(), strict=True))
    assert by_id["twin"] == pytest.approx(by_id["item-3"], abs=1e-4)
    assert by_id["twin"] != pytest.approx(by_id["item-4"], abs=1e-4)


@pytest.mark.parametrize("name", ["cooccurrence", "gru4rec", "sasrec"])
def test_history_of_new_items_alone_is_not_answered(name: str) -> None:
    ranker = ranker_of(name)

    assert ranker.recommend([FeedRequest(ids([10, 11])), FeedRequest([])]) == [[], []]


@EVERY_RIVAL
def test_no_items_and_no_requests_are_answered_with_nothing(name: str) -> None:
    ranker = ranker_of(name)
    empty = Ranker(ranker.scorer, ranker.manifest)

    assert ranker.recommend([]) == []
    assert empty.recommend([FeedRequest(["item-1"])]) == [[]]


@EVERY_RIVAL
def test_removed_item_is_recommended_no_more(name: str) -> None:
    ranker = ranker_of(name)

    ranker.remove_items(["item-3", "item-4"])

    answer = ranker.recommend([FeedRequest(["item-1", "item-2"], k=N_ITEMS)])[0]
    assert {one.item_id for one in answer} == {*ids([*range(N_ITEMS)])} - {"item-3", "item-4"}


def test_items_are_alike_as_their_pairs_say() -> None:
    scores = fitted("cooccurrence").scores([np.array([5])], [np.array([0])])[0]

    nearest = ranker_of("cooccurrence").similar("item-5", N_ITEMS)

    assert {one.item_id: one.score for one in nearest} == pytest.approx(
        {f"item-{row}": scores[row] for row in range(N_KNOWN) if row != 5}
    )


@pytest.mark.parametrize("name", BY_ID)
def test_nothing_is_like_an_item_that_never_came(name: str) -> None:
    assert ranker_of(name).similar("item-11", 3) == []


@pytest.mark.parametrize("name", [*BY_CONTENT, "sasrec"])
def test_similar_items_have_the_highest_cosine(name: str) -> None:
    ranker = ranker_of(name)
    if name in BY_CONTENT:
        ranker.add_items(with_newcomers("twin"))

    nearest = ranker.similar("item-3", N_ITEMS + 1)

    assert [one.score for one in nearest] == sorted((one.score for one in nearest), reverse=True)
    assert all(-1.00001 <= one.score <= 1.00001 for one in nearest)
    assert nearest[0].item_id == "twin" or name == "sasrec"
    assert "item-3" not in {one.item_id for one in nearest}


@pytest.mark.parametrize("name", BY_CONTENT)
def test_content_of_another_width_is_refused(name: str) -> None:
    wide = replace(small_content(), text=torch.zeros(N_ITEMS, 3, 7))

    with pytest.raises(ContentError, match="text parts are 7 wide, v1 was trained on 6; encode them with its towers"):
        ranker_of(name).add_items(wide)


@pytest.mark.parametrize("name", BY_ID)
def test_content_of_any_width_will_do_where_it_is_not_read(name: str) -> None:
    wide = replace(small_content(), text=torch.zeros(N_ITEMS, 3, 7))

    assert ranker_of(name, wide).recommend([FeedRequest(["item-1"])])[0]


@pytest.mark.parametrize("name", [*BY_ID, "unisrec"])
def test_weights_that_lack_a_part_are_a_damaged_bundle(name: str, tmp_path: Path) -> None:
    bundle = published(name, tmp_path)
    weights = load_file(bundle.weights)
    del weights[max(weights)]
    save_file(weights, bundle.path / WEIGHTS)

    with pytest.raises(DamagedBundle, match=r"model\.safetensors does not fit the configuration"):
        load_ranker(bundle, small_content())


@pytest.mark.parametrize("name", BY_ID)
def test_item_ids_that_do_not_fit_are_a_damaged_bundle(name: str, tmp_path: Path) -> None:
    bundle = published(name, tmp_path)
    (bundle.path / "items.json").write_text('["item-0"]')

    with pytest.raises(DamagedBundle, match=r"model\.safetensors does not fit the configuration"):
        load_ranker(bundle, small_content())


def test_unknown_kind_is_refused_with_the_known_ones_named(tmp_path: Path) -> None:
    bundle = published("popularity", tmp_path)
    later = Bundle(bundle.path, dataclasses.replace(bundle.manifest, kind="oracle"))

    with pytest.raises(
        UnknownKind,
        match=r"is of kind 'oracle', this release serves m2se, popularity, cooccurrence, content-knn, gru4rec, sasrec, "
        r"sasrec-long, sasrec-time-buckets-long, unisrec; promote another one",
    ):
        load_ranker(later, small_content())


def test_manifest_of_an_earlier_release_is_of_an_m2se() -> None:
    raw = dataclasses.replace(manifest("v1"), kind="?").to_json().replace(b'"kind": "?",', b"")

    assert b"kind" not in raw
    assert Manifest.from_json(raw).kind == "m2se"


def test_only_rivals_can_be_served_as_one() -> None:
    with pytest.raises(ValueError, match="memory cannot be served as a rival; there are popularity, cooccurrence, "):
        served(fitted("memory"), small_content())
    with pytest.raises(ValueError, match="m2se cannot be served as a rival"):
        served(fitted("m2se"), small_content())


@pytest.mark.parametrize("name", ["sasrec", "unisrec"])
def test_a_rival_that_was_not_fitted_is_refused(name: str) -> None:
    catalogue = Catalogue(N_ITEMS, small_content(), np.ones(N_ITEMS, np.bool_))

    with pytest.raises(ValueError, match=f"{name} has not been fitted"):
        served(build(name, catalogue, seed=0), small_content())
