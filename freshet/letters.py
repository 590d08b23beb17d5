"""`freshet dead-letters`: look at rejected records, or send their raw bytes to where they came from again."""

from contextlib import closing

from freshet.paths import Paths
from freshet.settings import Settings
from stream.dead_letters import replay
from stream.embedded.log import EmbeddedLog
from stream.events import BadEvent, decode_dead_letter
from stream.topics import DEAD_LETTER, topics

TIMEOUT_S = 60.0
SHOWN_BYTES = 120
REPLAY_GROUP = "dead-letter-replay"  # whose committed offset says what was sent already


def list_letters(settings: Settings) -> int:
    """Print every dead letter, one line each; the service must be stopped, as it owns the log."""
    log = _open(settings)
    try:
        reader = log.reader(DEAD_LETTER, partitions=[0])
        while records := reader.poll(max_records=1_000, timeout_s=0.0):
            for record in records:
                print(_line(record.offset, record.value))
        reader.close()
    finally:
        log.close()
    return 0


def replay_letters(settings: Settings) -> int:
    """Publish to their source topic the bytes of all dead letters that came since the last time.

    What is still bad comes back as a new letter; so the old ones stay behind, or each time would double them.
    """
    log = _open(settings)
    try:
        with closing(log.reader(DEAD_LETTER, group=REPLAY_GROUP)) as reader:
            reader.poll(max_records=1, timeout_s=0.0)  # joins the group
            done = replay(log, from_offset=reader.committed()[0], timeout_s=TIMEOUT_S)
            reader.commit({0: done.next_offset})  # last: a crash above sends them again, and events count once
        print(f"sent {done.n_replayed:,} dead letters to where they came from")
    finally:
        log.close()
    return 0


def _open(settings: Settings) -> EmbeddedLog:
    return EmbeddedLog(Paths(settings.data_dir).log, topics(settings.partitions))


def _line(offset: int, raw: bytes | None) -> str:
    try:
        letter = decode_dead_letter(raw)
    except BadEvent as exc:
        return f"{offset}: {exc}"
    start = (letter.value or b"")[:SHOWN_BYTES]
    return f"{offset}: {letter.source_topic}[{letter.partition}] offset {letter.offset}: {letter.reason} | {start!r}"
