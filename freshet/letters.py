"""`freshet dead-letters`: look at rejected records, or send their raw bytes to where they came from again."""

from freshet.paths import Paths
from freshet.settings import Settings
from stream.dead_letters import replay
from stream.embedded.log import EmbeddedLog
from stream.events import BadEvent, decode_dead_letter
from stream.topics import DEAD_LETTER, topics

TIMEOUT_S = 60.0
SHOWN_BYTES = 120


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
    """Publish every dead letter's bytes to its source topic again; what is still bad comes back as a new letter."""
    log = _open(settings)
    try:
        print(replay(log, timeout_s=TIMEOUT_S))
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
