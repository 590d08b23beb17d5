"""`freshet dead-letters`: look at rejected records, or send their raw bytes to where they came from again."""

import time
from contextlib import closing

from freshet.opening import open_log
from freshet.paths import Paths
from freshet.settings import Settings
from stream.dead_letters import dead_letters, replay
from stream.events import BadEvent, decode_dead_letter
from stream.log import Log, LogUnavailable, Reader
from stream.topics import DEAD_LETTER

TIMEOUT_S = 60.0
POLL_S = 0.5
SHOWN_BYTES = 120
REPLAY_GROUP = "dead-letter-replay"  # whose committed offset says what was sent already


def list_letters(settings: Settings) -> int:
    """Print every dead letter, one line each; with the embedded log the service must be stopped, as it owns it."""
    with closing(_open(settings)) as log:
        for records in dead_letters(log, timeout_s=TIMEOUT_S):
            for record in records:
                print(_line(record.offset, record.value))
    return 0


def replay_letters(settings: Settings) -> int:
    """Publish to their source topic the bytes of all dead letters that came since the last time.

    What is still bad comes back as a new letter; so the old ones stay behind, or each time would double them. What the
    log does not take, such as a record above its topic's limit, is left out, and printed.
    """
    n_sent = 0
    with closing(_open(settings)) as log, closing(log.reader(DEAD_LETTER, group=REPLAY_GROUP)) as reader:
        _join(reader)
        for batch in replay(log, from_offset=reader.committed()[0], timeout_s=TIMEOUT_S):
            for refused in batch.refused:
                print(f"left out {refused}")
            reader.poll(max_records=1, timeout_s=0)  # or a long replay would be put out of its group
            reader.commit({0: batch.next_offset})  # last: a crash above sends them again, and events count once
            n_sent += batch.n_replayed
        print(f"sent {n_sent:,} dead letters to where they came from")
    return 0


def _open(settings: Settings) -> Log:
    return open_log(settings, Paths(settings.data_dir).log)


def _join(reader: Reader) -> None:
    """Have the topic's one partition, so that no other replay sends the same letters.

    Raises:
        LogUnavailable: another replay has it.
    """
    deadline = time.monotonic() + TIMEOUT_S
    while not reader.assigned():
        if time.monotonic() > deadline:
            raise LogUnavailable(
                f"another replay of dead letters runs, or ended badly {TIMEOUT_S:.0f} s ago; try later"
            )
        reader.poll(max_records=1, timeout_s=POLL_S)


def _line(offset: int, raw: bytes | None) -> str:
    try:
        letter = decode_dead_letter(raw)
    except BadEvent as exc:
        return f"{offset}: {exc}"
    start = (letter.value or b"")[:SHOWN_BYTES]
    return f"{offset}: {letter.source_topic}[{letter.partition}] offset {letter.offset}: {letter.reason} | {start!r}"
