"""Who is next: users by the stream time at which something of theirs is due."""

from __future__ import annotations

import heapq


class DueUsers:
    """A heap with one time a user. Times may be noted too early, never too late: ask the user's window again.

    >>> due = DueUsers()
    >>> due.note("ada", 30)
    >>> due.note("bob", 10)
    >>> due.note("ada", 20)
    >>> due.pop(20), due.pop(99)
    (['bob', 'ada'], [])
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, str]] = []
        self._due_ms: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._due_ms)

    def note(self, user_id: str, due_ms: int) -> None:
        """Something of the user's is due at this time; a later time than the one known changes nothing."""
        known_ms = self._due_ms.get(user_id)
        if known_ms is None or due_ms < known_ms:
            self._due_ms[user_id] = due_ms
            heapq.heappush(self._heap, (due_ms, user_id))

    def forget(self, user_id: str) -> None:
        """Nothing of the user's is due any more."""
        self._due_ms.pop(user_id, None)

    def pop(self, now_ms: int, *, limit: int | None = None) -> list[str]:
        """Users due by `now_ms`, earliest first, at most `limit`; they are forgotten until noted again."""
        users: list[str] = []
        while self._heap and self._heap[0][0] <= now_ms and (limit is None or len(users) < limit):
            due_ms, user_id = heapq.heappop(self._heap)
            if self._due_ms.get(user_id) == due_ms:
                del self._due_ms[user_id]
                users.append(user_id)
        return users
