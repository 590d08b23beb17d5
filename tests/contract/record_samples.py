"""Records of every type, the smallest and the fullest: what today's code writes."""

from stream.events import (
    ArmCount,
    BlendState,
    DeadLetter,
    Event,
    Exposure,
    Interaction,
    ItemRemoval,
    ItemUpsert,
    Outcome,
    PartitionCounts,
    Replica,
    TransitionRow,
)

SAMPLES: dict[str, list[Event]] = {
    "interaction": [
        Interaction(event_id="e-1", user_id="anna", item_id="film-7", ts_ms=1_700_000_000_000),
        Interaction(event_id="e-2", user_id="Ünï", item_id="☕", ts_ms=0, kind="rate", feed_id="f-1"),
    ],
    "item_upsert": [
        ItemUpsert(item_id="film-7", ts_ms=1),
        ItemUpsert(
            item_id="film-8",
            ts_ms=1,
            title="Alien",
            text="In space.",
            image="ab.jpg",
            attributes={"genre": "horror"},
            text_vector=b"\x00\x3c",
            image_vector=b"",
        ),
    ],
    "item_removal": [ItemRemoval(item_id="film-7", ts_ms=2)],
    "exposure": [
        Exposure(feed_id="f-1", user_id="anna", ts_ms=3, item_ids=("film-7", "film-8")),
        Exposure(
            feed_id="f-2",
            user_id="anna",
            ts_ms=3,
            item_ids=(),
            model_version="v1",
            newest_item_ts_ms=2,
            position="1:42",
            degraded="no model",
            experiment="x",
            arm="b",
            propensities=(),
            blend=12,
        ),
    ],
    "outcome": [
        Outcome(
            outcome_id="f-1:film-7",
            feed_id="f-1",
            item_id="film-7",
            user_id="anna",
            rank=0,
            shown_ms=3,
            ts_ms=4,
            event_id="e-1",
            kinds={"click": 1, "like": 2},
        ),
        Outcome(
            outcome_id="f-2:film-8",
            feed_id="f-2",
            item_id="film-8",
            user_id="anna",
            rank=9,
            shown_ms=3,
            ts_ms=4,
            event_id="e-2",
            kinds={},
            experiment="x",
            arm="b",
            model_version="v1",
            propensity=0.25,
        ),
    ],
    "partition_counts": [
        PartitionCounts(partition=0, hour=0, trending=()),
        PartitionCounts(
            partition=3,
            hour=472_222,
            trending=(("film-7", 12), ("☕", 1)),
            arms=(
                ArmCount(experiment="none", arm="none", hour=472_222),
                ArmCount(
                    experiment="x", arm="b", hour=472_221, n_feeds=1, n_items=10, n_outcomes=2, kinds={"click": 3}
                ),
            ),
        ),
    ],
    "transition_row": [
        TransitionRow(item_id="film-7", ts_ms=0, n_events=0, count=0.0, partners=()),
        TransitionRow(item_id="film-8", ts_ms=5, n_events=9, count=2.5, partners=(("film-7", 0.5), ("☕", 1e-9))),
    ],
    "blend": [
        BlendState(number=0, steady=(), ageing=(), age=0.0, model_version=None, is_on=False, ts_ms=0),
        BlendState(
            number=7,
            steady=(1.0, 0.5, 0.0, -2.0),
            ageing=(-0.1, 0.1, 0.0, 0.0),
            age=0.25,
            model_version="v1",
            is_on=True,
            ts_ms=5,
            trending=(("film-7", 3), ("☕", 1)),
        ),
    ],
    "dead_letter": [
        DeadLetter(source_topic="events", partition=1, offset=7, key=None, value=b"\xff", reason="not UTF-8", ts_ms=4)
    ],
    "replica": [
        Replica(name="host-1", url="", partitions=(), ts_ms=0),
        Replica(name="host-2", url="http://127.0.0.1:8001", partitions=(0, 3), ts_ms=5),
    ],
}
