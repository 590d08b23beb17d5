from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.content.table import ContentError, ContentTable
from models.encoder.m2se import M2SE
from models.encoder.time_gaps import UNKNOWN_MS
from models.encoder_scorer import EncoderScorer, load_model, write_model
from models.loading import load_ranker
from models.ranker import FeedRequest, Ranker, ScoredItem, UnknownItem
from models.registry.bundle import WEIGHTS, Bundle, DamagedBundle, write_item_ids
from tests.models.encoder_fixtures import N_ITEMS, small_config, small_content, small_model
from tests.models.ranker_fixtures import manifest, publish, registry_in, small_ranker

OWNERS = tuple(f"item-{n}" for n in range(8))  # of the 12 items, the last four have no ID


def full_ranker() -> Ranker:
    ranker = small_ranker(OWNERS)
    ranker.add_items(small_content())
    return ranker


def only(row: int, content: ContentTable) -> ContentTable:
    return content.select(torch.tensor([row]))


@torch.inference_mode()
def scores_one_by_one(items: list[int]) -> list[float]:
    """Every item's score in 64-bit floats, an item at a time, by the formula in the paper."""
    model = small_model(n_ids=len(OWNERS)).double()
    content = small_content()
    double = ContentTable(
        content.item_ids, content.text.double(), content.text_mask, content.image.double(), content.image_mask
    )
    vectors = model.encode_items(double)
    state = model.encode_sequences(vectors.at(torch.tensor([items])))[0, -1]
    text_state, image_state = state.chunk(2)
    return [
        float(torch.cosine_similarity(text, text_state, dim=0) + torch.cosine_similarity(image, image_state, dim=0))
        / 0.07
        for text, image in zip(vectors.text, vectors.image, strict=True)
    ]


def test_recommend_gives_the_order_and_scores_of_a_computation_one_item_at_a_time() -> None:
    expected = scores_one_by_one([3, 9, 0])
    order = sorted(range(N_ITEMS), key=lambda row: -expected[row])

    answer = full_ranker().recommend([FeedRequest(items=["item-3", "item-9", "item-0"], k=N_ITEMS)])[0]

    assert [one.item_id for one in answer] == [f"item-{row}" for row in order]
    assert [one.score for one in answer] == pytest.approx([expected[row] for row in order], abs=1e-4)


def test_excluded_items_never_appear() -> None:
    excluded = {"item-1", "item-5", "item-11", "nobody"}

    answer = full_ranker().recommend([FeedRequest(items=["item-3"], exclude=excluded, k=100)])[0]

    assert {one.item_id for one in answer} == {f"item-{n}" for n in range(N_ITEMS) if n not in (1, 5, 11)}


class ReplacedWhileRead(set[str]):
    """One excluded item, which is placed anew just after it was looked up."""

    def __init__(self, ranker: Ranker, number: int = 4) -> None:
        super().__init__([f"item-{number}"])
        self._ranker = ranker
        self._anew = only(number, small_content(number + 1, seed=1))

    def __iter__(self) -> Iterator[str]:
        yield from super().__iter__()
        self._ranker.add_items(self._anew)


def test_excluded_item_that_is_replaced_meanwhile_does_not_appear() -> None:
    ranker = full_ranker()

    answer = ranker.recommend([FeedRequest(items=["item-3"], exclude=ReplacedWhileRead(ranker), k=100)])[0]

    assert "item-4" not in {one.item_id for one in answer}


def test_unknown_items_of_a_sequence_are_passed_over() -> None:
    ranker = full_ranker()

    plain, with_unknown = ranker.recommend(
        [FeedRequest(items=["item-3", "item-9"]), FeedRequest(items=["nobody", "item-3", "gone", "item-9"])]
    )

    assert plain == with_unknown


def test_only_the_newest_items_of_the_window_count() -> None:
    ranker = full_ranker()
    newest = [f"item-{n}" for n in range(6)]  # the window of the small model

    plain, longer = ranker.recommend([FeedRequest(items=newest), FeedRequest(items=["item-9", "item-8", *newest])])

    assert plain == longer


def test_without_a_known_item_there_is_nothing_to_recommend() -> None:
    assert full_ranker().recommend([FeedRequest(items=[]), FeedRequest(items=["nobody"])]) == [[], []]


def test_no_request_has_no_answer() -> None:
    ranker = full_ranker()

    assert ranker.recommend([]) == []
    assert ranker.scores([], [])[0].shape == (0, N_ITEMS)


def test_batch_gives_what_requests_give_one_by_one() -> None:
    ranker = full_ranker()
    requests = [
        FeedRequest(items=["item-3"], k=3),
        FeedRequest(items=[f"item-{n}" for n in range(11)], exclude={"item-2"}, k=5),
        FeedRequest(items=[]),
        FeedRequest(items=["item-7", "item-1"], k=12),
    ]

    together = ranker.recommend(requests)
    alone = [ranker.recommend([request])[0] for request in requests]

    assert [[one.item_id for one in answer] for answer in together] == [
        [one.item_id for one in answer] for answer in alone
    ]
    for answer, expected in zip(together, alone, strict=True):
        assert [one.score for one in answer] == pytest.approx([one.score for one in expected], abs=1e-4)


def test_k_bounds_the_answer() -> None:
    ranker = full_ranker()

    assert [len(answer) for answer in ranker.recommend([FeedRequest(items=["item-3"], k=k) for k in (0, 1, 99)])] == [
        0,
        1,
        N_ITEMS,
    ]


def test_removed_item_is_recommended_no_more_and_passed_over_in_sequences() -> None:
    ranker = full_ranker()
    before = ranker.recommend([FeedRequest(items=["item-9"], k=N_ITEMS)])[0]

    ranker.remove_items(["item-3", "nobody"])

    after = ranker.recommend([FeedRequest(items=["item-3", "item-9"], k=N_ITEMS)])[0]
    assert after == [one for one in before if one.item_id != "item-3"]
    assert (ranker.n_items, "item-3" in ranker) == (N_ITEMS - 1, False)


def test_changed_item_is_scored_under_its_new_content_only() -> None:
    ranker = full_ranker()
    content = small_content()
    as_item_5 = replace(only(5, content), item_ids=("item-9",))

    ranker.add_items(as_item_5)

    scores, item_ids = ranker.scores([["item-0", "item-1"]], [[1, 2]])
    rows = [row for row, item_id in enumerate(item_ids) if item_id == "item-9"]
    new_only = small_ranker(OWNERS)
    others = content.select(torch.tensor([row for row in range(N_ITEMS) if row != 9]))
    new_only.add_items(others.concat(as_item_5))
    expected, expected_ids = new_only.scores([["item-0", "item-1"]], [[1, 2]])
    assert rows == [9, N_ITEMS]
    assert scores[0, 9] == -np.inf
    assert scores[0, N_ITEMS] == pytest.approx(expected[0, expected_ids.index("item-9")], abs=1e-5)
    assert ranker.n_items == N_ITEMS


def test_new_item_without_an_id_is_recommendable_by_its_content() -> None:
    ranker = full_ranker()
    twin = replace(only(9, small_content()), item_ids=("brand-new",))  # item-9 has no ID either

    ranker.add_items(twin)

    by_id = {one.item_id: one.score for one in ranker.recommend([FeedRequest(items=["item-3"], k=100)])[0]}
    assert by_id["brand-new"] == pytest.approx(by_id["item-9"], abs=1e-5)


def test_saved_and_loaded_model_gives_the_same_scores_bit_for_bit(tmp_path: Path) -> None:
    registry = registry_in(tmp_path)
    original = full_ranker()
    version = publish(registry, small_model(n_ids=len(OWNERS)), OWNERS)

    loaded = load_ranker(registry.open(version), small_content())

    sequences, times_ms = [["item-3", "item-9"], ["item-0"], []], [[1, 2], [1], []]
    assert (loaded.version, loaded.owners) == (version, OWNERS)
    assert loaded.item_ids == original.item_ids == list(small_content().item_ids)
    np.testing.assert_array_equal(loaded.scores(sequences, times_ms)[0], original.scores(sequences, times_ms)[0])


def timed_ranker(tmp_path: Path) -> Ranker:
    """Of a published version that reads times, its vectors of gaps as large as an item's."""
    torch.manual_seed(0)
    model = M2SE(replace(small_config(), n_time_buckets=24), n_ids=len(OWNERS))
    with torch.no_grad():
        model.get_parameter("gaps.vectors").normal_()
    registry = registry_in(tmp_path)
    version = publish(registry, model, OWNERS, draft=manifest(model=model))
    return load_ranker(registry.open(version), small_content())


def test_a_model_that_reads_times_scores_by_the_times_between_the_items_it_knows(tmp_path: Path) -> None:
    ranker = timed_ranker(tmp_path)
    model, _ = load_model(ranker_bundle := registry_in(tmp_path).open(ranker.version))
    vectors = model.encode_items(small_content())

    scores, _ = ranker.scores([["item-3", "gone", "item-9"], ["item-0"]], [[1_000, 2_000, 61_000], [5_000]])

    states = model.encode_sequences(vectors.at(torch.tensor([[3, 9]])), torch.tensor([[1_000, 61_000]]))[0, -1]
    expected = (vectors.directions() @ states / model.config.temperature).detach().numpy()
    np.testing.assert_allclose(scores[0], expected, atol=1e-4)
    assert ranker_bundle.manifest.config["encoder"]["n_time_buckets"] == 24


@pytest.mark.parametrize(
    ("times_ms", "as_scored"), [([1_000, 61_000], [1_000, 61_000]), ((), [UNKNOWN_MS, UNKNOWN_MS])]
)
def test_a_feed_reads_the_times_it_is_given_and_does_without(
    tmp_path: Path, times_ms: list[int], as_scored: list[int]
) -> None:
    ranker, items = timed_ranker(tmp_path), ["item-3", "item-9"]

    (feed,) = ranker.recommend([FeedRequest(items, times_ms)])

    by_item = dict(zip(ranker.item_ids, ranker.scores([items], [as_scored])[0][0].tolist(), strict=True))
    assert [one.score for one in feed] == pytest.approx([by_item[one.item_id] for one in feed], abs=1e-5)


def test_times_of_other_items_are_refused() -> None:
    with pytest.raises(ValueError, match="1 times for 2 items; give one each, or none where nobody knows"):
        full_ranker().recommend([FeedRequest(["item-3", "item-9"], [1_000])])


def test_a_bundle_from_before_there_were_time_buckets_is_served(tmp_path: Path) -> None:
    registry = registry_in(tmp_path)
    before = manifest()
    del before.config["encoder"]["n_time_buckets"]
    version = publish(registry, small_model(n_ids=len(OWNERS)), OWNERS, draft=before)

    loaded = load_ranker(registry.open(version), small_content())

    np.testing.assert_array_equal(loaded.scores([["item-3"]], [[1]])[0], full_ranker().scores([["item-3"]], [[1]])[0])


def test_weights_of_another_shape_are_a_damaged_bundle_with_one_clear_line(tmp_path: Path) -> None:
    registry = registry_in(tmp_path)
    version = publish(registry, small_model(n_ids=3), ("a", "b", "c"))
    stage = registry.stage()
    write_item_ids(stage, ("a", "b"))
    (stage / WEIGHTS).write_bytes((registry.path(version) / WEIGHTS).read_bytes())
    other = registry.publish(stage, manifest())

    with pytest.raises(DamagedBundle, match=r"model\.safetensors does not fit.*ids.*freshet models promote VERSION"):
        load_ranker(registry.open(other), small_content())


def test_weights_that_lack_a_tensor_are_a_damaged_bundle(tmp_path: Path) -> None:
    write_model(tmp_path, small_model(), ())
    tensors = load_file(tmp_path / WEIGHTS)
    del tensors["sequence.positions"]
    save_file(tensors, tmp_path / WEIGHTS)

    with pytest.raises(DamagedBundle, match=r"does not fit the configuration: .*sequence\.positions"):
        load_model(Bundle(tmp_path, manifest()))


def test_bytes_that_are_no_weights_are_a_damaged_bundle(tmp_path: Path) -> None:
    write_model(tmp_path, small_model(), ())
    (tmp_path / WEIGHTS).write_bytes(b"half a file")

    with pytest.raises(DamagedBundle, match=r"model\.safetensors does not fit the configuration"):
        load_model(Bundle(tmp_path, manifest()))


def test_content_of_other_towers_is_refused_by_width() -> None:
    content = small_content()
    wide = replace(content, text=torch.zeros(N_ITEMS, 3, 7))

    with pytest.raises(ContentError, match="text parts are 7 wide, v1 was trained on 6; encode them with its towers"):
        full_ranker().add_items(wide)


def test_ids_that_do_not_fit_the_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="2 item ids for 3 ID vectors"):
        EncoderScorer(small_model(n_ids=3), ["a", "b"])


def test_nearest_items_are_those_of_the_highest_mean_cosine_without_itself() -> None:
    model = small_model(n_ids=len(OWNERS))
    vectors = model.encode_items(small_content())
    text = torch.cosine_similarity(vectors.text, vectors.text[4], dim=-1)
    image = torch.cosine_similarity(vectors.image, vectors.image[4], dim=-1)
    mean = ((text + image) / 2).tolist()
    nearest = sorted((row for row in range(N_ITEMS) if row != 4), key=lambda row: -mean[row])[:3]

    answer = full_ranker().similar("item-4", 3)

    assert [one.item_id for one in answer] == [f"item-{row}" for row in nearest]
    assert [one.score for one in answer] == pytest.approx([mean[row] for row in nearest], abs=1e-5)


def test_item_with_the_same_content_is_the_nearest() -> None:
    ranker = small_ranker()
    ranker.add_items(small_content())
    ranker.add_items(replace(only(4, small_content()), item_ids=("twin",)))

    assert ranker.similar("item-4", 1) == [ScoredItem("twin", pytest.approx(1.0, abs=1e-5))]


def test_similar_of_an_unknown_or_removed_item_is_an_error() -> None:
    ranker = full_ranker()
    ranker.remove_items(["item-3"])

    with pytest.raises(UnknownItem, match="nobody"):
        ranker.similar("nobody", 3)
    with pytest.raises(UnknownItem, match="item-3"):
        ranker.similar("item-3", 3)


def test_before_the_first_item_there_is_nothing_to_recommend() -> None:
    assert small_ranker().recommend([FeedRequest(items=["item-3"])]) == [[]]


def catalogue_with_newcomers() -> Ranker:
    """Fifteen items own an ID; item-15 to item-19 do not."""
    ranker = small_ranker([f"item-{n}" for n in range(15)])
    ranker.add_items(small_content(20))
    return ranker


def test_last_place_of_ten_goes_to_the_newcomer_that_scores_best() -> None:
    ranker = catalogue_with_newcomers()
    everything = {one.item_id: one.score for one in ranker.recommend([FeedRequest(["item-3"], k=20)])[0]}
    plain = [one.item_id for one in ranker.recommend([FeedRequest(["item-3"], k=10)])[0]]
    newcomers = [item for item in ("item-15", "item-16", "item-17", "item-18", "item-19") if item not in plain]

    answer = ranker.recommend([FeedRequest(["item-3"], k=10, newcomers=newcomers)])[0]

    best = max(newcomers, key=lambda item: everything[item])
    assert [one.item_id for one in answer] == [*plain[:9], best]
    assert [one.is_newcomer for one in answer] == [False] * 9 + [True]
    assert answer[-1].score == pytest.approx(everything[best])


@pytest.mark.parametrize(
    ("k", "exclude", "newcomers"),
    [
        (9, set(), ["item-19"]),  # a short feed keeps no place
        (10, set(), ["item-3", "unknown"]),  # owns an ID, and is in no index
        (10, {"item-19"}, ["item-19"]),
        (20, set(), ["item-19"]),  # is there by its score already
    ],
)
def test_feed_stays_as_it_is_without_a_newcomer_to_place(k: int, exclude: set[str], newcomers: list[str]) -> None:
    ranker = catalogue_with_newcomers()
    plain = ranker.recommend([FeedRequest(["item-3"], exclude=exclude, k=k)])

    assert ranker.recommend([FeedRequest(["item-3"], exclude=exclude, k=k, newcomers=newcomers)]) == plain


def test_item_that_owns_an_id_is_no_newcomer() -> None:
    ranker = catalogue_with_newcomers()
    plain = ranker.recommend([FeedRequest(["item-3"], k=10)])
    shown = {one.item_id for one in plain[0]}
    owners = [f"item-{n}" for n in range(15) if f"item-{n}" not in shown]

    assert owners
    assert ranker.recommend([FeedRequest(["item-3"], k=10, newcomers=owners)]) == plain


def test_excluded_newcomer_that_is_replaced_meanwhile_does_not_get_the_place() -> None:
    ranker = catalogue_with_newcomers()
    excluded = ReplacedWhileRead(ranker, 19)

    answer = ranker.recommend([FeedRequest(["item-3"], exclude=excluded, newcomers=["item-19"])])[0]

    assert "item-19" not in {one.item_id for one in answer}
