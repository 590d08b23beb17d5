"""Publishes numbered events and prints the position of each once it is acknowledged, until it is killed.

Run by test_embedded.py: python publish_until_killed.py LOG_FILE FIRST_NUMBER
"""

import sys
from pathlib import Path

from stream.embedded.log import EmbeddedLog
from stream.log import Message
from stream.topics import topics


def publish_for_ever(path: Path, number: int) -> None:
    log = EmbeddedLog(path, topics(2))
    reader = log.reader("events", group="g")
    while True:
        numbers = range(number, number + 1 + number % 50)
        positions = log.publish("events", [Message(b"user-%d" % (n % 7), b"%d" % n) for n in numbers]).result()
        for n, position in zip(numbers, positions, strict=True):
            sys.stdout.write(f"{n} {position.partition} {position.offset}\n")
        sys.stdout.flush()
        reader.poll(max_records=1_000, timeout_s=0)
        reader.commit()
        number += len(numbers)


if __name__ == "__main__":
    publish_for_ever(Path(sys.argv[1]), int(sys.argv[2]))
