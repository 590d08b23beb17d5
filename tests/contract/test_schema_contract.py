"""The committed JSON Schemas are those of the types, and what we write satisfies them."""

import json
from pathlib import Path

import jsonschema
import pytest

from stream.events import BadEvent, ItemRemoval, decode_interaction, decode_item, encode
from stream.schema import FOLDER, schemas, write
from tests.contract.record_samples import SAMPLES


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
