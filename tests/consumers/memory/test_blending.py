"""Weights are learned from what came, before it is known to anything."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs

from consumers.memory.blending import BlendingSettings, BlendLearner
from consumers.memory.links import LinkReader
from consumers.memory.shared import SharedMemory
from consumers.memory.shared_blend import SharedBlend
from consumers.sampling import is_sampled
from models.registry.kept_blend import KeptBlend
from stream.events import MAX_TRENDING_ITEMS, BlendState
from stream.kinds import DEFAULT_KINDS
from tests.consumers.memory.blend_bench import ALL, ITEMS, KEPT, START, Bench, Model, Slot, pairs
from tests.consumers.store_support import click, new_metrics, value


def test_where_the_memory_tells_what_comes_its_weight_grows_and_the_blend_is_on() -> None:
    bench = Bench()
    bench.link(*pairs(256))
    bench.link(*[click(event_number, user=f"late-{event_number}", item="item-0") for event_number in range(900, 910)])

    state = bench.due()

    assert state.steady[1] > 0.8
    assert state.is_on
    assert (state.number, state.model_version) == (1, "v1")
    assert bench.n_learned == 256
    assert value(bench.metrics, "blend_weight", {"part": "memory"}) == state.steady[1]
    assert value(bench.metrics, "blend_on") == 1
    gain = value(bench.metrics, "blend_gain_ndcg_at_10")
    assert gain is not None
    assert gain > 0.3


def test_nothing_knows_of_an_event_when_it_is_predicted() -> None:
    bench = Bench()
    firsts = [click(nth, user=f"user-{nth}", item="item-59") for nth in range(50)]
    bench.link(*firsts)

    bench.link(*[click(100 + nth, user=f"user-{nth}", item=f"item-{nth}") for nth in range(50)])

    _, memory, trending, seen = bench.due().steady
    assert bench.n_learned == 50
    assert memory <= START[1]  # for those before, in vain; it would have grown for the one that came
    assert trending == START[2]
    assert seen < START[3]


def test_what_came_often_of_late_is_trending_for_the_weights_and_for_feeds() -> None:
    bench = Bench()
    bench.link(*[click(nth, user=f"early-{nth}", item="item-9") for nth in range(40)])
    bench.now_s += 2.0

    bench.link(click(50, item="item-1"), *[click(nth, item="item-9") for nth in range(51, 53)])

    state = bench.due()
    assert state.steady[2] > START[2]
    assert state.trending == (("item-9", 40),)
    assert bench.shared.now("v1") is None  # too few were judged


def test_more_than_a_thousand_items_are_trending_in_two_fields() -> None:
    bench = Bench()
    bench.link(*[click(nth, user=f"user-{nth}", item=f"item-{nth:04}") for nth in range(MAX_TRENDING_ITEMS + 3)])
    again = Bench()
    again.learner.restore(bench.learner.state())

    state = again.due()

    assert state.trending == tuple((f"item-{nth:04}", 1) for nth in range(MAX_TRENDING_ITEMS))
    assert state.more_trending == (("item-1000", 1), ("item-1001", 1), ("item-1002", 1))


def test_what_was_trending_is_known_after_a_restart() -> None:
    bench, again = Bench(), Bench()
    bench.link(*[click(nth, user=f"early-{nth}", item=f"item-{nth % 3}") for nth in range(8)])

    again.learner.restore(bench.learner.state())

    assert again.due().trending == (("item-0", 3), ("item-1", 3), ("item-2", 2))


def test_events_of_other_users_and_those_that_followed_a_feed_are_only_linked() -> None:
    bench = Bench(settings=BlendingSettings(share=0.3))
    users = [f"user-{number}" for number in range(40)]
    bench.link(*[click(nth, user=user, item="item-1") for nth, user in enumerate(users)])
    bench.link(*[click(100 + nth, user=user, item="item-2", feed_id="f") for nth, user in enumerate(users)])
    assert bench.n_learned == 0
    bench.link(*[click(200 + nth, user=user, item="item-3") for nth, user in enumerate(users)])
    assert bench.n_learned == sum(is_sampled(user, 0.3) for user in users) > 0
    assert bench.memory.scores(["item-2"])[bench.memory.numbers(["item-3"])[0]] > 0.5


def test_the_model_is_told_when_each_item_came() -> None:
    model = Model()
    Bench(model).link(click(1), click(2, ts_ms=2_500), click(7))
    assert model.asked_ms == [[1_000], [1_000, 2_500]]


def test_a_model_does_not_predict_what_it_was_trained_on() -> None:
    model = Model(trained_to=4)
    bench = Bench(model)
    bench.link(click(1), click(2))
    bench.link(click(3), click(4))
    assert (model.n_asked, bench.learner.due()) == ([], None)
    bench.link(click(5), click(6))
    assert (model.n_asked, bench.n_learned) == ([2], 2)


def test_what_a_user_saw_long_ago_is_no_surprise_and_nothing_to_be_predicted() -> None:
    bench = Bench()
    bench.link(*[click(nth, item=ITEMS[nth]) for nth in range(55)])  # five more than the sequence holds

    bench.link(click(60, item="item-0"), click(61, item="item-58"))

    filtered = bench.quality.report()["model"]["filtered"]
    assert (filtered["n"], filtered["n_dropped"]) == (54 + 1, 1)  # the very first has no history


def test_without_a_model_events_are_linked() -> None:
    shared = SharedMemory()
    learner = BlendLearner(Slot(None), shared, SharedBlend(), log_id="log", metrics=new_metrics(), settings=ALL)
    reader = LinkReader(DEFAULT_KINDS, length=50, max_seen=50, n_last=10)
    reader.hold(0)
    learner.link(reader.links(0, [click(1), click(2)], is_asked=learner.is_asked), {0: 0})
    assert (learner.due(), shared.n_items) == (None, 2)


def test_the_model_is_asked_once_a_batch_and_for_no_more_than_is_allowed() -> None:
    model = Model()
    bench = Bench(model, settings=BlendingSettings(share=1.0, max_batch=3))
    bench.link(*[click(nth) for nth in range(1, 9)])
    bench.link(click(9))
    assert (model.n_asked, bench.n_learned, bench.memory.n_items) == ([3, 1], 4, 9)


def test_no_more_events_a_second_are_learned_from_than_are_allowed_and_a_batch_whole_or_not_at_all() -> None:
    bench = Bench(settings=BlendingSettings(share=1.0, max_batch=4, per_s=0.2))  # 8 saved up in 40 s
    bench.link(click(1))
    bench.link(*[click(nth) for nth in range(2, 6)])
    bench.link(*[click(nth) for nth in range(6, 10)])
    bench.link(click(10))
    assert bench.n_learned == 8

    bench.now_s += 15.0
    bench.link(*[click(nth) for nth in range(11, 15)])
    assert (bench.n_learned, bench.memory.n_items) == (8, 14)
    bench.now_s += 5.0
    bench.link(*[click(nth) for nth in range(15, 19)])
    assert bench.n_learned == 12
    bench.now_s += 1e6
    for nth in range(3):
        bench.link(*[click(20 + 4 * nth + one) for one in range(4)])
    assert bench.n_learned == 20


def test_what_the_model_does_not_know_is_not_learned_from() -> None:
    bench = Bench(Model(item_ids=["item-2", "item-3"]))
    bench.link(click(1), click(2))  # the user's only item is unknown
    bench.link(click(3), click(4))  # the last one is no candidate
    assert bench.n_learned == 1


def test_weights_that_moved_get_the_next_number_at_most_once_in_the_time_set() -> None:
    bench = Bench()
    bench.shared.put(BlendState(number=6, steady=START, ageing=START, age=0, model_version=None, is_on=True, ts_ms=1))
    bench.link(click(1), click(2))
    first = bench.due()
    bench.link(click(3))
    assert bench.learner.due() is None
    bench.now_s += 5.0
    second = bench.due()
    bench.now_s += 5.0

    assert (first.number, second.number, bench.shared.number) == (7, 8, 8)
    assert bench.learner.due() is None


def test_weights_that_could_not_be_published_are_due_again_under_another_number() -> None:
    bench = Bench()
    bench.link(click(1), click(2))
    assert bench.learner.due() is not None
    bench.now_s += 5.0
    assert bench.due().number == 2


def test_age_is_of_the_model_that_was_asked() -> None:
    bench = Bench()
    bench.offset = 50_000
    bench.link(click(1), click(2))
    assert bench.due().age == pytest.approx(np.log(2))


def test_a_learner_that_was_saved_goes_on_where_it_was_under_numbers_never_used() -> None:
    bench, again = Bench(), Bench()
    bench.link(*pairs(250))
    before = bench.due()

    again.learner.restore(bench.learner.state())

    after = again.due()
    assert (after.steady, after.ageing, after.is_on) == (before.steady, before.ageing, True)
    assert (after.age, after.model_version) == (before.age, "v1")
    assert after.number > before.number


def test_numbers_that_were_published_after_the_snapshot_are_not_used_again() -> None:
    bench = Bench()
    bench.link(*pairs(10))
    saved, numbers = bench.learner.state(), []
    for life in range(2):
        again = Bench()
        again.learner.restore(saved)
        for said in range(3):
            again.wall_s = 1_000.0 + 30.0 * life + 5.0 * said
            again.now_s += 5.0
            again.link(*[click(100 * said + nth, user=f"late-{said}", item=ITEMS[nth + life]) for nth in range(2)])
            numbers.append(again.due().number)

    assert sorted(set(numbers)) == numbers


def test_a_model_that_raises_costs_predictions_and_no_link() -> None:
    class Raising(Model):
        def scores(
            self, sequences: Sequence[Sequence[str]], times_ms: Sequence[Sequence[int]]
        ) -> tuple[NDArray[np.float32], list[str]]:
            if not self.n_asked:
                self.n_asked.append(0)
                raise RuntimeError("no memory left")
            return super().scores(sequences, times_ms)

    bench, other = Bench(Raising()), Bench()
    with capture_logs() as logs:
        bench.link(*pairs(20))
    other.link(*pairs(20))

    assert [(log["event"], log["n_events"]) for log in logs] == [("blend_not_predicted", 40)]
    assert bench.n_learned == 0
    assert bench.memory.changed_rows(100) == other.memory.changed_rows(100)
    bench.link(*[click(100 + nth, user=f"user-{nth}", item="item-1") for nth in range(5)])
    assert bench.n_learned == 5


def test_beside_a_new_version_the_weights_kept_with_it_are_gone_on_from_under_the_next_number() -> None:
    bench = Bench()
    bench.link(*pairs(256))
    before = bench.due()
    bench.slot.model = Model(version="v2", kept=KEPT)
    bench.now_s += 5.0

    bench.link(click(600, user="late", item="item-0"), click(601, user="late", item="item-1"))

    after = bench.due()
    assert after.steady == pytest.approx(KEPT.steady, abs=0.01)
    assert after.ageing == pytest.approx(KEPT.ageing, abs=0.01)
    assert (before.number, after.number, after.model_version) == (1, 2, "v2")


@pytest.mark.parametrize(("gain", "is_on"), [(0.01, True), (0.0, False)])
def test_beside_a_new_version_feeds_are_blended_where_the_kept_weights_paid_at_the_gate(
    gain: float, is_on: bool
) -> None:
    bench = Bench()
    bench.link(*pairs(256))
    bench.due()
    bench.slot.model = Model(version="v2", kept=replace(KEPT, gain_ndcg_at_10=gain))
    bench.now_s += 5.0

    bench.link(click(600, user="late", item="item-0"), click(601, user="late", item="item-1"))

    assert bench.due().is_on == is_on


def test_weights_kept_with_the_first_version_there_is_are_gone_on_from() -> None:
    bench = Bench(Model(kept=KEPT))

    bench.link(click(1), click(2))

    assert bench.due().steady == pytest.approx(KEPT.steady, abs=0.01)


def test_beside_a_new_version_without_kept_weights_they_go_on_as_they_are() -> None:
    bench = Bench()
    bench.link(*pairs(256))
    before = bench.due()
    bench.slot.model = Model(version="v2")
    bench.now_s += 5.0

    bench.link(click(600, user="late", item="item-0"), click(601, user="late", item="item-1"))

    after = bench.due()
    assert after.steady == pytest.approx(before.steady, abs=0.02)
    assert (after.is_on, after.model_version) == (True, "v2")


def test_kept_weights_are_taken_over_once_and_learning_goes_on_from_there() -> None:
    bench, events = Bench(Model(kept=KEPT)), pairs(256)

    for at in range(0, len(events), 16):
        bench.link(*events[at : at + 16])

    assert abs(bench.due().steady[1] - KEPT.steady[1]) > 0.1


def test_after_a_restart_what_was_learned_since_is_not_lost_to_the_kept_weights_of_the_same_version() -> None:
    model = Model(kept=KEPT)
    bench, again = Bench(model), Bench(model)
    bench.link(*pairs(256))
    before = bench.due()

    again.learner.restore(bench.learner.state())
    again.link(click(600, user="late", item="item-0"), click(601, user="late", item="item-1"))

    assert again.due().steady == pytest.approx(before.steady, abs=0.02)


def test_after_a_restart_beside_a_newer_version_the_weights_kept_with_it_are_gone_on_from() -> None:
    bench, again = Bench(), Bench(Model(version="v2", kept=KEPT))
    bench.link(*pairs(256))
    before = bench.due()

    again.learner.restore(bench.learner.state())
    again.link(click(600, user="late", item="item-0"), click(601, user="late", item="item-1"))

    after = again.due()
    assert after.steady == pytest.approx(KEPT.steady, abs=0.01)
    assert after.number > before.number


def test_kept_weights_of_other_parts_are_passed_over_and_said() -> None:
    bench = Bench(Model(kept=KeptBlend((1.0,), (0.0,), 0.0, 0.0, 300)))

    with capture_logs() as logs:
        bench.link(click(1), click(2))

    assert [(entry["event"], entry["version"]) for entry in logs] == [("kept_weights_passed_over", "v1")]
    assert bench.due().steady == pytest.approx(START, abs=0.01)


def test_weights_of_other_parts_are_begun_anew() -> None:
    bench = Bench()
    state = bench.learner.state() | {"weights": np.zeros((2, 3))}
    with capture_logs() as logs:
        bench.learner.restore(state)
    assert [entry["event"] for entry in logs] == ["blend_begun_anew"]
    assert bench.learner.due() is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"share": 0.0}, "share=0.0 of users"), ({"max_batch": 0}, "256"), ({"per_s": 0}, "per_s=0")],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BlendingSettings(**settings)  # type: ignore[arg-type]
