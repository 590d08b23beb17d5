import json
from typing import Any

import pytest

from consumers.learning.cycle_events import CycleEvent
from consumers.memory.quality import FeedQuality
from freshet.client import Client
from freshet.demo.probe import FeedProbe, FreshnessProbe
from freshet.demo.summary import checks, closing_table, cycle_rows, probes

CYCLES = [
    CycleEvent(state="published", cycle=1, detail="first model", version="v1", seconds=12.34, n_events=900),
    CycleEvent(state="published", cycle=2, detail="better", version="v2", seconds=3.0, n_events=90),
    CycleEvent(state="refused", cycle=3, detail="worse", seconds=4.0, n_events=90),
]
FILTERED = {"n": 40, "recall_at_10": 0.25, "ndcg_at_10": 0.125}
UNFILTERED = {"n": 50, "recall_at_10": 0.2, "ndcg_at_10": 0.1}


def passing() -> dict[str, Any]:
    """A summary of a run that kept every promise."""
    return {
        "stream": {"n_live": 900, "live_s": 30.0, "n_users": 20, "n_items": 10, "lag": 0},
        "cycles": cycle_rows(CYCLES),
        "models": {"n_swaps": 2, "current": "v2"},
        "prequential": {"organic": {"model": {"filtered": dict(FILTERED), "unfiltered": dict(UNFILTERED)}}},
        "blend": None,
        "feeds": {"n_requests": 100, "by_version": {"v1": 60, "v2": 40}, "n_failed": 0, "p50_ms": 5.0, "p99_ms": 9.0},
        "event_to_feed": {"n": 9, "n_stale": 0, "p50_ms": 4.0, "p99_ms": 8.0},
        "feed_change": {"is_changed": True, "is_stale": False},
        "new_item": {"recommendable_s": 1.5, "place": 3},
    }


def test_run_that_kept_every_promise_passes() -> None:
    held = checks(passing())

    assert len(held) == 9
    assert all(held.values())


@pytest.mark.parametrize(
    ("section", "name", "value", "broken"),
    [
        ("stream", "n_live", 0, "events streamed in and were all applied"),
        ("stream", "lag", 1, "events streamed in and were all applied"),
        ("feed_change", "is_changed", False, "a feed changed because of an event"),
        ("feed_change", "is_stale", True, "a feed changed because of an event"),
        ("event_to_feed", "n", 0, "every feed asked for right after an event reflected it"),
        ("event_to_feed", "n_stale", 1, "every feed asked for right after an event reflected it"),
        ("new_item", "recommendable_s", None, "a new item was recommendable within 10 s"),
        ("new_item", "recommendable_s", 10.1, "a new item was recommendable within 10 s"),
        ("new_item", "place", None, "the new item was in somebody's feed"),
        ("feeds", "by_version", {"v1": 100}, "models were swapped under constant requests"),
        ("feeds", "by_version", {"none": 40, "v1": 60}, "models were swapped under constant requests"),
        ("feeds", "n_failed", 1, "no request failed"),
    ],
)
def test_each_promise_can_be_broken_alone(section: str, name: str, value: object, broken: str) -> None:
    summary = passing()
    summary[section][name] = value

    held = checks(summary)

    assert [promise for promise, is_held in held.items() if not is_held] == [broken]


@pytest.mark.parametrize(
    "last",
    [
        CycleEvent(state="failed", cycle=3, detail="DamagedBundle: gone"),
        CycleEvent(state="refused", cycle=3, detail=""),
        CycleEvent(state="published", cycle=1, detail="first model"),
    ],
)
def test_cycle_that_failed_or_gave_no_reason_or_was_the_first_does_not_count(last: CycleEvent) -> None:
    summary = passing() | {"cycles": cycle_rows([*CYCLES[:2], last])}

    broken = [promise for promise, is_held in checks(summary).items() if not is_held]

    assert broken == ["2 or more cycles ended in a published or refused model, with the reason"]


def test_run_without_predictions_breaks_its_promise() -> None:
    summary = passing()
    summary["prequential"]["organic"]["model"]["filtered"] = {"n": 0}

    broken = [promise for promise, is_held in checks(summary).items() if not is_held]

    assert broken == ["events were predicted before they were applied"]


def test_cycles_are_rows_of_plain_values() -> None:
    assert cycle_rows(CYCLES)[0] == {
        "cycle": 1,
        "result": "published",
        "reason": "first model",
        "version": "v1",
        "seconds": 12.3,
        "n_events": 900,
        "metrics": {},
    }


def test_closing_table_shows_the_figures() -> None:
    assert closing_table(passing()) == [
        ("events streamed live", "900 in 30 s, 20 users"),
        ("event accepted -> feed reflects it", "p50 4.0 ms, p99 8.0 ms, 0 did not"),
        ("new item -> recommendable", "1.50 s"),
        ("training runs", "2 published, 1 refused"),
        ("model swaps", "2, v2 answers"),
        ("feed requests meanwhile", "100, 0 failed, p99 9.0 ms"),
        ("predicted before applied", "40 events"),
        ("  model, Recall@10 / NDCG@10", "0.250 / 0.125   (unfiltered 0.200 / 0.100)"),
    ]


def test_closing_table_shows_cycles_that_failed() -> None:
    failed = CycleEvent(state="failed", cycle=4, detail="DamagedBundle: gone")

    table = dict(closing_table(passing() | {"cycles": cycle_rows([*CYCLES, failed])}))

    assert table["training runs"] == "2 published, 1 refused, 1 failed"


def test_closing_table_holds_blended_feeds_against_their_parts() -> None:
    gain = {"ndcg_at_10": {"mean": 0.01, "low": -0.002, "high": 0.022}}
    figures = {"filtered": dict(FILTERED), "unfiltered": dict(UNFILTERED)}
    blend = {"feed": figures, "model": figures | {"feed_gains": gain}, "memory": figures | {"feed_gains": gain}}

    assert closing_table(passing() | {"blend": blend})[8:] == [
        ("before the blend learned them", "40 events"),
        ("  feeds, Recall@10 / NDCG@10", "0.250 / 0.125   (unfiltered 0.200 / 0.100)"),
        ("  model alone, Recall@10 / NDCG@10", "0.250 / 0.125   (unfiltered 0.200 / 0.100)"),
        ("  fast memory alone, Recall@10 / NDCG@10", "0.250 / 0.125   (unfiltered 0.200 / 0.100)"),
        ("  feeds above the model, NDCG@10", "+0.0100 (-0.0020 to +0.0220)"),
    ]


def test_a_blend_that_learned_nothing_is_left_out_of_the_table() -> None:
    blend = FeedQuality().report()

    assert closing_table(passing() | {"blend": blend}) == closing_table(passing())


def test_what_was_not_measured_is_said_and_stays_valid_json() -> None:
    with Client("http://127.0.0.1:1") as client:
        seen = probes(FeedProbe("http://127.0.0.1:1", ["ann"]), FreshnessProbe(client, "ann"))

    json.dumps(seen, allow_nan=False)
    table = dict(closing_table(passing() | seen))
    assert table["event accepted -> feed reflects it"] == "p50 not measured, p99 not measured, 0 did not"
    assert table["feed requests meanwhile"] == "0, 0 failed, p99 not measured"
