"""Position tokens: where the log stood after a write, handed to a client and given back as `after`.

A token is url-safe base64 of JSON: the log's id, the topic, and the next offset by partition. Clients treat it as
opaque; it is not secret and not signed, a forged one can only make its own feed wait.
"""

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass

from stream.log import Position

MAX_TOKEN_LENGTH = 4_000  # fits offsets of 128 partitions, as many as there may be; of four it has about 150
MAX_OFFSET = 2**63 - 1


class BadToken(ValueError):
    """Not a position token, or one of another log."""


@dataclass(frozen=True)
class PositionToken:
    """Everything before these offsets of a topic.

    Attributes:
        log_id: of the log the offsets belong to.
        topic: of the offsets.
        next_offsets: next offset by partition; all records before it are meant.
    """

    log_id: str
    topic: str
    next_offsets: dict[int, int]

    @classmethod
    def after(cls, log_id: str, topic: str, positions: Iterable[Position]) -> "PositionToken":
        """The token that covers all of these positions."""
        next_offsets: dict[int, int] = {}
        for partition, offset in positions:
            next_offsets[partition] = max(next_offsets.get(partition, 0), offset + 1)
        return cls(log_id, topic, next_offsets)

    def encode(self) -> str:
        """The token as clients see it.

        >>> PositionToken.decode(PositionToken("a1", "events", {2: 7}).encode()).next_offsets
        {2: 7}
        """
        fields = {"log": self.log_id, "topic": self.topic, "next": self.next_offsets}
        raw = json.dumps(fields, separators=(",", ":"))
        return base64.urlsafe_b64encode(raw.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> "PositionToken":
        """A client's text back to a token.

        Raises:
            BadToken: not a token.
        """
        if len(text) > MAX_TOKEN_LENGTH:
            raise BadToken(f"position token has {len(text)} characters, limit is {MAX_TOKEN_LENGTH}")
        try:
            fields = json.loads(base64.b64decode(_padded(text), altchars=b"-_", validate=True))
            return cls(str(fields["log"]), str(fields["topic"]), _offsets(fields["next"]))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as exc:
            raise BadToken(
                f"{text[:40]!a} is not a position token; send back `position` of an earlier answer as it was"
            ) from exc

    def check(self, log_id: str, topic: str) -> None:
        """Refuse a token that means nothing here.

        Raises:
            BadToken: of another log or topic.
        """
        if self.log_id != log_id:
            raise BadToken(f"position token is of log {self.log_id[:40]!a}, this is {log_id!r}; leave `after` away")
        if self.topic != topic:
            raise BadToken(f"position token is of topic {self.topic[:40]!a}; a feed waits for {topic!r}")


def _padded(text: str) -> bytes:
    return text.encode("ascii") + b"=" * (-len(text) % 4)


def _offsets(values: dict[str, int]) -> dict[int, int]:
    offsets = {int(partition): int(offset) for partition, offset in values.items()}
    if not all(partition >= 0 and 0 <= offset <= MAX_OFFSET for partition, offset in offsets.items()):
        raise ValueError("partitions and offsets are 0 or more")
    return offsets
