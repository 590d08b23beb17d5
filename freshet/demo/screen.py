"""What the demo shows: steps, lines, and one progress line, redrawn on a terminal, printed now and then elsewhere."""

import sys
import time

QUIET_S = 5.0  # between two progress lines where they cannot be redrawn


class Screen:
    """Writes to standard output. Safe to use from several threads: every line is one write."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._n_steps = 0
        self._shown_s = 0.0
        self._started_s = time.monotonic()
        self._width = 0  # of the progress line that is on the screen

    @property
    def elapsed_s(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self._started_s

    def step(self, title: str) -> None:
        """Begin a step."""
        self._n_steps += 1
        self._write(f"\n[{self.elapsed_s:6.1f} s] {self._n_steps}. {title}\n")

    def say(self, text: str) -> None:
        """One or more lines inside the step."""
        for line in text.splitlines():
            self._write(f"    {line}\n")

    def progress(self, text: str) -> None:
        """Show how far it is."""
        if self._is_terminal:
            line = f"    {text}"
            padding = " " * max(0, self._width - len(line))
            sys.stdout.write(f"\r{line}{padding}")
            sys.stdout.flush()
            self._width = len(line)
        elif time.monotonic() - self._shown_s >= QUIET_S:
            self._shown_s = time.monotonic()
            self._write(f"    {text}\n")

    def table(self, rows: list[tuple[str, str]]) -> None:
        """Two aligned columns."""
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            self._write(f"    {name:<{width}}  {value}\n")

    def _write(self, text: str) -> None:
        clear = f"\r{' ' * self._width}\r" if self._width else ""
        self._width = 0
        sys.stdout.write(f"{clear}{text}")
        sys.stdout.flush()
