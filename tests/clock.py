"""Time that passes when a test says so."""


class Clock:
    """Seconds that stand until they are set."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s
