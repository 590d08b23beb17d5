"""The role says and keeps the weights that are learned in it."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from structlog.testing import capture_logs

from consumers.memory.blending import BlendLearner
from consumers.memory.follower import BlendFollower
from consumers.memory.role import MemoryRole, MemorySettings
from consumers.memory.shared import SharedMemory
from consumers.memory.shared_blend import KEY, SharedBlend
from consumers.memory.snapshots import MemorySnapshots
from consumers.writing import publish_durably
from stream.embedded.log import EmbeddedLog
from stream.events import MAX_MORE_TRENDING, MAX_TRENDING_ITEMS, Interaction, decode_blend_state, encode
from stream.kinds import DEFAULT_KINDS
from stream.log import Message, Record
from stream.topics import CONTROL, EVENTS
from tests.consumers.memory.blend_bench import ALL, Model, Slot, pairs
from tests.consumers.memory.test_shared_blend import state
from tests.consumers.store_support import click, new_metrics, open_log


def new_role(
    log: EmbeddedLog, folder: Path, *, publish_s: float | None = 0.0, model: Model | None = None
) -> tuple[MemoryRole, SharedBlend]:
    memory, shared, metrics = SharedMemory(), SharedBlend(), new_metrics()
    slot = Slot(model or Model())
    learner = BlendLearner(slot, memory, shared, log_id=log.log_id, metrics=metrics, settings=ALL, now_s=lambda: 1.0)
    settings = MemorySettings(snapshot_s=1e6, publish_s=publish_s)
    snapshots = MemorySnapshots(folder, log.log_id, length=50, max_seen=50)
    role = MemoryRole(memory, snapshots, log, kinds=DEFAULT_KINDS, metrics=metrics, settings=settings, learner=learner)
    role.gained([0, 1])
    return role, shared


def records(events: Sequence[Interaction], first: int = 0) -> list[Record]:
    return [
        Record(EVENTS, 0, first + nth, event.user_id.encode(), encode(event), 1) for nth, event in enumerate(events)
    ]


def said(log: EmbeddedLog) -> list[Record]:
    reader = log.reader(CONTROL, partitions=[0])
    found = reader.poll(max_records=100, timeout_s=0)
    reader.close()
    return found


def test_the_role_publishes_weights_for_those_who_follow(tmp_path: Path) -> None:
    followed = SharedBlend()
    with open_log(tmp_path) as log:
        role, shared = new_role(log, tmp_path / "memory")
        role.handle(records(pairs(250)))
        on_control = said(log)
        BlendFollower(followed).handle([Record(CONTROL, 0, 0, b"replica:x", b"{}", 1), *on_control])

    assert [decode_blend_state(record.value).number for record in on_control] == [1]
    assert followed.now("v1") == shared.now("v1")
    assert followed.now("v1") is not None


def test_the_model_is_asked_once_for_all_partitions_of_a_batch(tmp_path: Path) -> None:
    model = Model()
    with open_log(tmp_path) as log:
        role, _ = new_role(log, tmp_path / "memory", model=model)
        first, second = records(pairs(3)), records([click(900 + nth, user="bob") for nth in range(4)])
        role.handle([*first, *[record._replace(partition=1) for record in second]])
        assert role.positions() == {0: 6, 1: 4}

    assert model.n_asked == [6]


def test_where_nobody_follows_weights_are_in_force_here_and_not_published(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        role, shared = new_role(log, tmp_path / "memory", publish_s=None)
        role.handle(records(pairs(250)))
        assert (said(log), shared.number) == ([], 1)


def test_weights_are_kept_beside_the_memory(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        role, shared = new_role(log, tmp_path / "memory")
        role.handle(records(pairs(250)))
        role.close()
        again, restored = new_role(log, tmp_path / "memory")
        again.idle()

    before, after = shared.now("v1"), restored.now("v1")
    assert before is not None
    assert after is not None
    assert after.weights.steady == before.weights.steady
    assert after.weights.number > before.weights.number


def test_what_is_no_state_is_passed_over_and_said() -> None:
    blend = SharedBlend()
    with capture_logs() as logs:
        BlendFollower(blend).handle([Record(CONTROL, 0, at, b"blend", raw, 1) for at, raw in enumerate((None, b"{}"))])
    assert blend.number == 0
    assert [(log["event"], log["offset"]) for log in logs] == [
        ("blend_state_passed_over", 0),
        ("blend_state_passed_over", 1),
    ]


def test_as_much_as_a_state_may_say_is_published_and_followed(tmp_path: Path) -> None:
    longest = tuple((f"{nth:04}{'x' * 56}", nth) for nth in range(MAX_TRENDING_ITEMS + MAX_MORE_TRENDING))
    most, more = longest[:MAX_TRENDING_ITEMS], longest[MAX_TRENDING_ITEMS:]
    longest_state = msgspec.structs.replace(state(1), trending=most, more_trending=more)
    followed = SharedBlend()
    with open_log(tmp_path) as log:
        publish_durably(log, CONTROL, [Message(KEY, encode(longest_state))])
        BlendFollower(followed).handle(said(log))
    now = followed.now("v1")
    assert now is not None
    assert now.trending == dict(longest)
