"""Numbers are made anew when they are a second old, and not before."""

from consumers.recounts import Recounts


def test_what_is_asked_within_a_second_is_counted_once() -> None:
    now = [7.0]
    found = [[("a", 3)], [("b", 2), ("a", 1)]]
    recounts = Recounts(lambda: found.pop(0), clock=lambda: now[0])

    first = recounts.counts()
    now[0] = 7.9
    assert recounts.counts() is first == {"a": 3}
    now[0] = 8.0
    assert recounts.counts() == {"b": 2, "a": 1}
    assert found == []


def test_they_are_counted_when_first_asked_for() -> None:
    assert Recounts(lambda: [("a", 1)], clock=lambda: 0.0).counts() == {"a": 1}
