"""Position tokens: what goes out comes back, and what is not ours is refused."""

import base64
import json

import pytest

from serving.tokens import BadToken, PositionToken
from stream.log import Position


def test_a_token_covers_the_highest_offset_of_each_partition() -> None:
    token = PositionToken.after("log-1", "events", [Position(0, 4), Position(1, 9), Position(0, 5)])

    assert token.next_offsets == {0: 6, 1: 10}


def test_a_decoded_token_equals_the_encoded_one() -> None:
    token = PositionToken("log-1", "events", {0: 6, 3: 1})

    assert PositionToken.decode(token.encode()) == token


def test_a_token_needs_no_escaping_in_a_url() -> None:
    text = PositionToken("log-1", "events", dict.fromkeys(range(8), 2**40)).encode()

    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def _forged(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "\u00e9",
        "====",
        _forged([]),
        _forged({"log": "a"}),
        _forged({"log": "a", "topic": "events", "next": [1]}),
        _forged({"log": "a", "topic": "events", "next": {"x": 1}}),
        _forged({"log": "a", "topic": "events", "next": {"0": -1}}),
        _forged({"log": "a", "topic": "events", "next": {"0": 2**80}}),
        _forged({"log": "a", "topic": "events", "next": {"0": "Infinity"}}),
        _forged({"log": "a", "topic": "events", "next": {"0": float("inf")}}),  # as 1e999 is read
        _forged({"log": "a", "topic": "events", "next": {"0": float("nan")}}),
    ],
)
def test_what_is_no_token_is_refused_with_the_next_step(text: str) -> None:
    with pytest.raises(BadToken, match="is not a position token; send back `position` of an earlier answer"):
        PositionToken.decode(text)


def test_a_very_long_token_is_refused_by_length() -> None:
    with pytest.raises(BadToken, match="has 5000 characters, limit is 4000"):
        PositionToken.decode("a" * 5_000)


def test_a_token_of_another_log_is_refused() -> None:
    with pytest.raises(BadToken, match="is of log 'log-1', this is 'log-2'"):
        PositionToken("log-1", "events", {0: 1}).check("log-2", "events")


def test_a_token_of_another_topic_is_refused() -> None:
    with pytest.raises(BadToken, match="is of topic 'items'; a feed waits for 'events'"):
        PositionToken("log-1", "items", {0: 1}).check("log-1", "events")


def test_a_token_over_every_partition_there_may_be_is_taken_back() -> None:
    token = PositionToken("f" * 32, "events", dict.fromkeys(range(128), 10**12))
    assert PositionToken.decode(token.encode()) == token
