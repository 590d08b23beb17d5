"""Old and new processes read one log: one version behind, one version ahead, and the rule that keeps it so.

`schemas_v1` holds the schemas as the version before wrote them. Whoever releases a version copies `stream/schemas`
there, once every process in use is of it.
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from stream.events import (
    Exposure,
    Interaction,
    ItemUpsert,
    decode_blend_state,
    decode_dead_letter,
    decode_exposure,
    decode_interaction,
    decode_item,
    decode_outcome,
    decode_partition_counts,
    decode_replica,
    decode_transition_row,
    encode,
)
from stream.schema import TYPES, schemas
from tests.contract.record_samples import SAMPLES
from tests.contract.schema_rules import breaks

OLD = {path.stem: json.loads(path.read_bytes()) for path in (Path(__file__).parent / "schemas_v1").glob("*.json")}
NEW = {name.removesuffix(".json"): json.loads(content) for name, content in schemas().items()}
TYPE = {str(record.__struct_config__.tag): record for record in TYPES}
DECODE: dict[str, Callable[[bytes], object]] = {
    "interaction": decode_interaction,
    "item_upsert": decode_item,
    "item_removal": decode_item,
    "exposure": decode_exposure,
    "outcome": decode_outcome,
    "partition_counts": decode_partition_counts,
    "transition_row": decode_transition_row,
    "blend": decode_blend_state,
    "replica": decode_replica,
    "dead_letter": decode_dead_letter,
}
BY_OLD_CODE = {  # lines that the version before wrote, the smallest and the fullest it could
    "interaction": [
        b'{"type":"interaction","event_id":"e-1","user_id":"anna","item_id":"film-7","ts_ms":1700000000000,'
        b'"kind":"click","feed_id":null}',
        b'{"type":"interaction","event_id":"e-2","user_id":"\xc3\x9cn\xc3\xaf","item_id":"i","ts_ms":0,"kind":"rate",'
        b'"feed_id":"f-1"}',
    ],
    "item_upsert": [
        b'{"type":"item_upsert","item_id":"film-7","ts_ms":1,"title":"","text":"","image":null,"attributes":{},'
        b'"text_vector":null,"image_vector":null}',
        b'{"type":"item_upsert","item_id":"film-8","ts_ms":1,"title":"Alien","text":"In space.","image":"ab.jpg",'
        b'"attributes":{"genre":"horror"},"text_vector":"ADw=","image_vector":""}',
    ],
    "item_removal": [b'{"type":"item_removal","item_id":"film-7","ts_ms":2}'],
    "exposure": [
        b'{"type":"exposure","feed_id":"f-1","user_id":"anna","ts_ms":3,"item_ids":["film-7"],"model_version":null,'
        b'"newest_item_ts_ms":null,"position":null,"degraded":null,"experiment":null,"arm":null,"propensities":null}',
        b'{"type":"exposure","feed_id":"f-2","user_id":"anna","ts_ms":3,"item_ids":[],"model_version":"v1",'
        b'"newest_item_ts_ms":2,"position":"1:42","degraded":"no model","experiment":"x","arm":"b","propensities":[]}',
    ],
    "dead_letter": [
        b'{"type":"dead_letter","source_topic":"events","partition":1,"offset":7,"key":null,"value":"/w==",'
        b'"reason":"not UTF-8","ts_ms":4}'
    ],
}
every_type = pytest.mark.parametrize("name", sorted(TYPE))
every_old_type = pytest.mark.parametrize("name", sorted(OLD))


def test_every_type_has_samples_a_decoder_and_if_old_its_lines() -> None:
    assert set(SAMPLES) == set(DECODE) == set(TYPE) == set(NEW)
    assert set(BY_OLD_CODE) == set(OLD)
    assert set(OLD) <= set(NEW), "a type of record was removed: old processes still write it"


@every_old_type
def test_what_new_code_writes_satisfies_the_old_schema(name: str) -> None:
    for sample in SAMPLES[name]:
        jsonschema.validate(json.loads(encode(sample)), OLD[name])


@every_old_type
def test_what_old_code_wrote_satisfies_both_schemas_and_is_read(name: str) -> None:
    for raw in BY_OLD_CODE[name]:
        jsonschema.validate(json.loads(raw), OLD[name])
        jsonschema.validate(json.loads(raw), NEW[name])
        assert isinstance(DECODE[name](raw), TYPE[name])


@every_old_type
def test_what_both_versions_can_say_is_written_the_same(name: str) -> None:
    """A record of the old version comes back with the old values, and the rest are defaults."""
    for raw in BY_OLD_CODE[name]:
        again = json.loads(encode(DECODE[name](raw)))  # type: ignore[arg-type]
        assert {field: again[field] for field in json.loads(raw)} == json.loads(raw)


@every_type
def test_consumer_one_version_behind_ignores_what_it_does_not_know(name: str) -> None:
    """Records of the version to come carry more fields, on top and inside."""
    for sample in SAMPLES[name]:
        record = json.loads(encode(sample))
        newer = _with_more(record)
        assert newer != record
        jsonschema.validate(newer, NEW[name])
        assert DECODE[name](msgspec.json.encode(newer)) == sample


@every_type
def test_consumer_one_version_ahead_fills_in_defaults(name: str) -> None:
    """Records of a version that had none of the optional fields yet."""
    for sample in SAMPLES[name]:
        record = json.loads(encode(sample))
        fields = msgspec.structs.fields(TYPE[name])
        older = {"type": name} | {field.name: record[field.name] for field in fields if field.required}
        jsonschema.validate(older, NEW[name])
        decoded = DECODE[name](msgspec.json.encode(older))
        for field in fields:
            expected = getattr(sample, field.name) if field.required else field.default
            if field.default_factory is not msgspec.NODEFAULT:
                expected = field.default_factory()
            assert getattr(decoded, field.name) == expected, field.name


def test_defaults_of_the_newest_fields() -> None:
    event = decode_interaction(b'{"type":"interaction","event_id":"e","user_id":"u","item_id":"i","ts_ms":1}')
    assert event == Interaction(event_id="e", user_id="u", item_id="i", ts_ms=1, kind="click", feed_id=None)
    exposure = decode_exposure(b'{"type":"exposure","feed_id":"f","user_id":"u","ts_ms":1,"item_ids":["i"]}')
    assert (exposure.experiment, exposure.arm, exposure.propensities, exposure.blend) == (None, None, None, None)
    assert exposure == Exposure(feed_id="f", user_id="u", ts_ms=1, item_ids=("i",))
    assert decode_item(b'{"type":"item_upsert","item_id":"i","ts_ms":1}') == ItemUpsert(item_id="i", ts_ms=1)


@every_old_type
def test_schemas_changed_only_by_fields_with_defaults(name: str) -> None:
    assert breaks(OLD[name], NEW[name]) == []


def _properties(schema: dict[str, Any], struct: str) -> dict[str, Any]:
    properties: dict[str, Any] = schema["$defs"][struct]["properties"]
    return properties


def _rename(schema: dict[str, Any]) -> None:
    fields = _properties(schema, "Exposure")
    fields["variant"] = fields.pop("arm")


CHANGES: list[tuple[str, Callable[[dict[str, Any]], object], list[str]]] = [
    ("exposure", lambda s: _properties(s, "Exposure").pop("arm"), ["$.arm was removed or renamed"]),
    ("exposure", _rename, ["$.arm was removed or renamed"]),
    ("exposure", lambda s: s["$defs"]["Exposure"]["required"].append("arm"), ["$.arm becomes required"]),
    (
        "exposure",
        lambda s: s["$defs"]["Exposure"]["required"].remove("feed_id"),
        ["$.feed_id may be absent, and old readers require it"],
    ),
    (
        "exposure",
        lambda s: _properties(s, "Exposure")["item_ids"]["items"].update(maxLength=100),
        ["$.item_ids[] narrows: maxLength 256 -> 100"],
    ),
    (
        "exposure",
        lambda s: _properties(s, "Exposure")["item_ids"].update(minItems=1),
        ["$.item_ids narrows: minItems None -> 1"],
    ),
    (
        "interaction",
        lambda s: _properties(s, "Interaction")["ts_ms"].pop("maximum"),
        ["$.ts_ms widens: maximum 4102444800000 -> None"],
    ),
    (
        "interaction",
        lambda s: _properties(s, "Interaction")["feed_id"].update(anyOf=[{"type": "string"}]),
        [
            "$.feed_id narrows: null is refused",
            "$.feed_id widens: maxLength 256 -> None",
            "$.feed_id widens: minLength 1 -> None",
        ],
    ),
    (
        "interaction",
        lambda s: _properties(s, "Interaction")["type"].update(enum=["event"]),
        ["$.type changes its values: ['interaction'] -> ['event']"],
    ),
    (
        "partition_counts",
        lambda s: _properties(s, "ArmCount").pop("n_feeds"),
        ["$.arms[].n_feeds was removed or renamed"],
    ),
    (
        "partition_counts",
        lambda s: _properties(s, "ArmCount")["kinds"]["additionalProperties"].update(minimum=1),
        ["$.arms[].kinds{} narrows: minimum 0 -> 1"],
    ),
]


@pytest.mark.parametrize(("name", "change", "found"), CHANGES)
def test_change_that_breaks_a_reader_is_named(
    name: str, change: Callable[[dict[str, Any]], object], found: list[str]
) -> None:
    changed = copy.deepcopy(NEW[name])
    change(changed)
    assert breaks(NEW[name], changed) == found


@every_type
def test_field_with_a_default_may_be_added(name: str) -> None:
    changed = copy.deepcopy(NEW[name])
    for struct in changed["$defs"].values():
        struct["properties"]["locale"] = {"type": "string", "default": ""}
    assert breaks(NEW[name], changed) == []


def test_new_text_about_a_field_changes_nothing() -> None:
    changed = copy.deepcopy(NEW["exposure"])
    changed["$defs"]["Exposure"]["description"] = "Said better."
    assert breaks(NEW["exposure"], changed) == []


def _with_more(value: Any) -> Any:
    """Every object but maps of names with fields that nobody knows yet."""
    if isinstance(value, list):
        return [_with_more(inside) for inside in value]
    if not isinstance(value, dict):
        return value
    known = {name: inside if name in ("kinds", "attributes") else _with_more(inside) for name, inside in value.items()}
    return {**known, "locale": "de", "device": {"os": "x", "sizes": [1, 2]}}
