"""The committed JSON Schemas are those of the types, and what we write satisfies them."""

import json
from pathlib import Path

import jsonschema
import pytest

from stream.events import (
    ArmCount,
    BadEvent,
    DeadLetter,
    Event,
    Exposure,
    Interaction,
    ItemRemoval,
    ItemUpsert,
    Outcome,
    PartitionCounts,
    decode_interaction,
    decode_item,
    encode,
)
from stream.schema import FOLDER, schemas, write

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
    "dead_letter": [
        DeadLetter(source_topic="events", partition=1, offset=7, key=None, value=b"\xff", reason="not UTF-8", ts_ms=4)
    ],
}


def test_committed_schemas_equal_the_generated_ones() -> None:
    committed = {path.name: path.read_bytes() for path in FOLDER.glob("*.json")}
    assert committed == schemas(), "run `python -m stream.schema` and commit what changed"


def test_writing_the_schemas_makes_the_same_files(tmp_path: Path) -> None:
    write(tmp_path / "schemas")
    assert {path.name: path.read_bytes() for path in (tmp_path / "schemas").iterdir()} == schemas()


@pytest.mark.parametrize("name", SAMPLES)
def test_what_we_write_satisfies_its_schema(name: str) -> None:
    schema = json.loads((FOLDER / f"{name}.json").read_bytes())
    jsonschema.Draft202012Validator.check_schema(schema)
    for sample in SAMPLES[name]:
        jsonschema.validate(json.loads(encode(sample)), schema)


@pytest.mark.parametrize(
    "change",
    [{"user_id": ""}, {"user_id": "x" * 257}, {"ts_ms": -1}, {"ts_ms": 4_102_444_800_001}, {"kind": ""}, {"type": "x"}],
)
def test_schema_and_decoder_refuse_the_same_events(change: dict[str, object]) -> None:
    schema = json.loads((FOLDER / "interaction.json").read_bytes())
    event = {"type": "interaction", "event_id": "e", "user_id": "u", "item_id": "i", "ts_ms": 1} | change
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(event, schema)
    with pytest.raises(BadEvent):
        decode_interaction(json.dumps(event).encode())


def test_records_of_a_newer_version_are_read_without_their_new_fields() -> None:
    raw = b'{"type":"item_removal","item_id":"film-7","ts_ms":2,"reason":"sold out","by":{"name":"x"}}'
    assert decode_item(raw) == ItemRemoval(item_id="film-7", ts_ms=2)
