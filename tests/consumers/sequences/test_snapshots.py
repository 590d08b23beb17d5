import json
import random
import struct
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from threading import Event, Thread

import pytest

from consumers.sequences.snapshots import DamagedSnapshot, Origin, PartitionState, offset_of, restore, snapshot
from consumers.sequences.user_sequences import UserSequences
from stream.events import Interaction
from stream.kinds import DEFAULT_KINDS

ORIGIN = Origin("log-1", 4, 3)


def some_events(n: int, n_users: int = 40, seed: int = 0) -> list[Interaction]:
    rng = random.Random(seed)
    return [
        Interaction(
            event_id=f"{seed}-{number}",
            user_id=f"user-{rng.randrange(n_users)}",
            item_id=f"item-{rng.randrange(60)}",
            ts_ms=1_000_000 + 700 * number - rng.choice([0, 0, 0, 9_000]),
        )
        for number in range(n)
    ]


def one_partition() -> UserSequences:
    sequences = UserSequences(1, length=ORIGIN.length, max_seen=ORIGIN.max_seen)
    sequences.hold(0)
    return sequences


def contents(state: PartitionState) -> dict[str, object]:
    store = state.store
    users = {user: (store.history(user), sorted(store.seen(user))) for user in store.users}
    return {"users": users, "trending": state.trending.hours(), "next_offset": state.next_offset}


def saved(tmp_path: Path) -> tuple[UserSequences, Path]:
    sequences = one_partition()
    sequences.apply(0, some_events(500), DEFAULT_KINDS, next_offset=500)
    path = tmp_path / "events-0.snapshot"
    snapshot(sequences.held()[0], path, ORIGIN.log_id)
    return sequences, path


def test_restored_state_equals_the_saved_one(tmp_path: Path) -> None:
    sequences, path = saved(tmp_path)
    assert contents(restore(path, ORIGIN)) == contents(sequences.held()[0])
    assert [file.name for file in tmp_path.iterdir()] == ["events-0.snapshot"]


def test_snapshot_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, disk_steps: Callable[[Path], list[str]]
) -> None:
    saved(tmp_path)
    assert disk_steps(tmp_path) == ["force events-0.snapshot", "rename events-0.snapshot", "force ."]


def test_empty_partition_can_be_saved(tmp_path: Path) -> None:
    path = tmp_path / "events-0.snapshot"
    assert snapshot(one_partition().held()[0], path, ORIGIN.log_id) == 0
    assert restore(path, ORIGIN).store.n_users == 0


def test_snapshot_and_catch_up_equal_an_uninterrupted_run(tmp_path: Path) -> None:
    events = some_events(900)
    whole = one_partition()
    whole.apply(0, events, DEFAULT_KINDS, next_offset=900)
    sequences, path = saved(tmp_path)
    sequences.apply(0, events[500:700], DEFAULT_KINDS, next_offset=700)  # lost in the crash
    restarted = one_partition()
    state = restore(path, ORIGIN)
    restarted.hold(0, state)
    restarted.apply(0, events[state.next_offset :], DEFAULT_KINDS, next_offset=900)
    assert contents(restarted.held()[0]) == contents(whole.held()[0])


def test_events_applied_again_after_a_restart_change_nothing(tmp_path: Path) -> None:
    sequences, path = saved(tmp_path)
    restarted = one_partition()
    restarted.hold(0, restore(path, ORIGIN))
    restarted.apply(0, some_events(500)[300:], DEFAULT_KINDS, next_offset=500)
    assert contents(restarted.held()[0]) == contents(sequences.held()[0])


def test_snapshot_taken_while_events_are_applied_is_one_moment(tmp_path: Path) -> None:
    events, path = some_events(12_000, n_users=6_000), tmp_path / "events-0.snapshot"
    sequences = one_partition()
    sequences.apply(0, events[:6_000], DEFAULT_KINDS, next_offset=6_000)
    started = Event()

    def apply_on() -> None:
        for start in range(6_000, 12_000, 50):
            sequences.apply(0, events[start : start + 50], DEFAULT_KINDS, next_offset=start + 50)
            started.set()

    writer = Thread(target=apply_on)
    writer.start()
    started.wait(20)
    for _ in range(5):
        snapshot(sequences.held()[0], path, ORIGIN.log_id)
        found = restore(path, ORIGIN)
        caught_up = one_partition()
        caught_up.hold(0, found)
        caught_up.apply(0, events[found.next_offset :], DEFAULT_KINDS, next_offset=12_000)
        expected = one_partition()
        expected.apply(0, events, DEFAULT_KINDS, next_offset=12_000)
        assert contents(caught_up.held()[0]) == contents(expected.held()[0])
    writer.join(20)


def test_snapshot_of_the_format_before_is_read(tmp_path: Path) -> None:
    """It had trending counts beside the rows; they are counted from the rows now."""
    sequences, path = saved(tmp_path)
    new, old = b'{"version":2,', b'{"version":1,"trending":{"newest_hour":0,"buckets":{}},'
    body = path.read_bytes()[:-16]
    at = body.index(new)
    (header_bytes,) = struct.unpack("<I", body[body.rindex(b'{"name":"meta"') - 4 : body.rindex(b'{"name":"meta"')])
    meta = body[at : body.index(b"}", at) + 1].replace(new, old)
    header = json.dumps({"name": "meta", "dtype": "|u1", "shape": [len(meta)]}).encode()
    end = body[body.rindex(b'{"name":"end"') - 4 :]
    start = body.rindex(b'{"name":"meta"') - 4
    assert header_bytes == at - start - 4
    body = body[:start] + struct.pack("<I", len(header)) + header + meta + end
    path.write_bytes(body + blake2b(body, digest_size=16).digest())
    assert contents(restore(path, ORIGIN)) == contents(sequences.held()[0])


def test_snapshot_of_a_format_to_come_is_refused(tmp_path: Path) -> None:
    _, path = saved(tmp_path)
    body = path.read_bytes()[:-16].replace(b'{"version":2,', b'{"version":3,')
    path.write_bytes(body + blake2b(body, digest_size=16).digest())
    with pytest.raises(DamagedSnapshot, match=r"it is of format=3, readable are \(1, 2\)"):
        restore(path, ORIGIN)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut short": lambda raw: raw[: len(raw) // 2],
    "a byte altered": lambda raw: raw[:2_000] + bytes([raw[2_000] ^ 1]) + raw[2_001:],
    "something appended": lambda raw: raw + b"x",
    "nothing in it": lambda raw: b"",
    "another file": lambda raw: b"PAR1" * 1_000,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_snapshot_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    _, path = saved(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedSnapshot, match=r"events-0\.snapshot cannot be read: .*; rebuild from the log"):
        restore(path, ORIGIN)


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        (Origin("log-2", 4, 3), "it is of log_id='log-1', 'log-2' is in force"),
        (Origin("log-1", 4, 9), "it is of max_seen=3, 9 is in force"),
        (Origin("log-1", 5, 3), r"rows of \(4,\) positions, 5 are configured"),
    ],
)
def test_snapshot_made_otherwise_is_refused(tmp_path: Path, origin: Origin, message: str) -> None:
    _, path = saved(tmp_path)
    with pytest.raises(DamagedSnapshot, match=message):
        restore(path, origin)


def test_a_file_tells_its_offset_without_being_read(tmp_path: Path) -> None:
    _, path = saved(tmp_path)
    offset = restore(path, ORIGIN).next_offset
    assert offset_of(path, ORIGIN.log_id) == offset
    assert offset_of(path, "another log") is None
    assert offset_of(tmp_path / "none", ORIGIN.log_id) is None
    path.write_bytes(b"nonsense")
    assert offset_of(path, ORIGIN.log_id) is None
