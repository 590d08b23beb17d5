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


def test_counting_that_takes_long_is_done_less_often() -> None:
    now = [0.0]
    n_counted = []

    def count() -> list[tuple[str, int]]:
        now[0] += 0.1
        n_counted.append(1)
        return [("a", len(n_counted))]

    recounts = Recounts(count, clock=lambda: now[0])
    assert recounts.counts() == {"a": 1}
    now[0] = 4.9
    assert recounts.counts() == {"a": 1}
    now[0] = 5.0
    assert recounts.counts() == {"a": 2}


def test_who_asks_while_it_is_counted_gets_the_numbers_of_before() -> None:
    now = [0.0]
    met: list[object] = []

    def count() -> list[tuple[str, int]]:
        if now[0] > 0:
            met.append(recounts.counts())
        return [("a", int(now[0]))]

    recounts = Recounts(count, clock=lambda: now[0])
    assert recounts.counts() == {"a": 0}
    now[0] = 2.0
    assert recounts.counts() == {"a": 2}
    assert met == [{"a": 0}]
