"""Who serves which users, as heard on `control`."""

from consumers.replicas import ReplicaDirectory
from stream.events import Replica, encode
from stream.log import Record
from tests.clock import Clock

NOW_MS = 1_700_000_000_000


def word(name: str, partitions: tuple[int, ...], *, ts_ms: int = NOW_MS) -> Record:
    replica = Replica(name=name, url=f"http://{name}:8000", partitions=partitions, ts_ms=ts_ms)
    return Record("control", 0, 0, f"replica:{name}".encode(), encode(replica), ts_ms)


def directory(*words: Record, clock: Clock | None = None) -> ReplicaDirectory:
    known = ReplicaDirectory("own", clock=clock or Clock())
    known.handle(list(words))
    return known


def test_a_partition_is_where_its_replica_says() -> None:
    known = directory(word("a", (0, 1)), word("b", (2, 3)))
    assert (known.url_of(1), known.url_of(2)) == ("http://a:8000", "http://b:8000")


def test_of_two_that_claim_a_partition_the_newer_word_counts() -> None:
    known = directory(word("a", (0, 1), ts_ms=NOW_MS - 10), word("b", (1,)))
    assert known.url_of(1) == "http://b:8000"


def test_a_replica_that_let_a_partition_go_is_no_longer_named() -> None:
    known = directory(word("a", (0, 1)), word("a", (0,)))
    assert known.url_of(1) is None


def test_a_replica_silent_for_too_long_by_the_logs_clock_is_no_longer_named() -> None:
    known = directory(word("a", (0,), ts_ms=NOW_MS - 15_001), word("b", (1,), ts_ms=NOW_MS - 15_000), word("c", (2,)))
    assert (known.url_of(0), known.url_of(1)) == (None, "http://b:8000")
    assert [replica.name for replica in known.listed()] == ["b", "c"]


def test_silence_counts_between_two_words_of_ones_own() -> None:
    clock = Clock()
    known = directory(word("a", (0,), ts_ms=NOW_MS - 11_000), word("own", (1,)), clock=clock)
    clock.now_s += 4.0
    assert known.url_of(0) == "http://a:8000"
    clock.now_s += 0.01
    assert known.url_of(0) is None


def test_while_nothing_at_all_is_heard_nobody_falls_silent_and_afterwards_who_died_does() -> None:
    clock = Clock()
    known = directory(word("a", (0,)), word("b", (1,)), clock=clock)
    clock.now_s += 600.0
    assert (known.url_of(0), known.url_of(1)) == ("http://a:8000", "http://b:8000")
    known.handle([word("own", (2,), ts_ms=NOW_MS + 600_000), word("b", (1,), ts_ms=NOW_MS + 600_000)])
    assert (known.url_of(0), known.url_of(1)) == (None, "http://b:8000")


def test_a_replica_that_said_goodbye_is_forgotten() -> None:
    goodbye = Record("control", 0, 1, b"replica:a", None, NOW_MS)
    assert directory(word("a", (0,)), goodbye).listed() == []


def test_its_own_word_never_sends_a_replica_to_itself() -> None:
    assert directory(word("own", (0,))).url_of(0) is None


def test_what_is_no_replica_is_left_alone() -> None:
    other = Record("control", 0, 0, b"blend", b"{}", NOW_MS)
    unreadable = Record("control", 0, 1, b"replica:x", b"no json", NOW_MS)
    nameless = Record("control", 0, 2, None, None, NOW_MS)
    assert directory(other, unreadable, nameless, word("a", (0,))).url_of(0) == "http://a:8000"
