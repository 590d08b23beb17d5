import pytest

from stream.events import BadEvent
from stream.kinds import DEFAULT_KINDS, EventKind, EventKinds, UnknownKind


def test_default_kinds_enter_the_sequence_but_for_dislike() -> None:
    assert {kind.name for kind in DEFAULT_KINDS if kind.enters_sequence} == {
        "view", "click", "like", "play", "purchase", "rate",
    }  # fmt: skip
    assert not DEFAULT_KINDS.get("dislike").enters_sequence


def test_a_kind_is_found_by_name_and_by_number() -> None:
    assert DEFAULT_KINDS[DEFAULT_KINDS.number("like")] is DEFAULT_KINDS.get("like")
    assert DEFAULT_KINDS.names[0] == "view"


def test_an_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(UnknownKind, match="kind 'buy' is not known; known are view, click, like"):
        DEFAULT_KINDS.get("buy")
    assert issubclass(UnknownKind, BadEvent)
    assert "buy" not in DEFAULT_KINDS


def test_a_set_without_kinds_with_too_many_or_with_a_name_twice_is_refused() -> None:
    click = EventKind("click", enters_sequence=True, is_target=True)
    with pytest.raises(ValueError, match="0 event kinds given; 1 to 256"):
        EventKinds([])
    with pytest.raises(ValueError, match="257 event kinds given"):
        EventKinds([click] * 257)
    with pytest.raises(ValueError, match="named twice"):
        EventKinds([click, click])


def test_a_kind_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="is a target but does not enter"):
        EventKind("click", enters_sequence=False, is_target=True)
    with pytest.raises(ValueError, match="1 to 32 characters"):
        EventKind("", enters_sequence=True, is_target=True)
