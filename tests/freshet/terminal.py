"""Standard error as a terminal shows it."""

import io


class Terminal(io.StringIO):
    """Keeps what was written, and knows what stands on the screen after it."""

    def isatty(self) -> bool:
        return True

    @property
    def lines(self) -> list[str]:
        """What is to be read, the line of the cursor last."""
        return [line.split("\r\x1b[K")[-1] for line in self.getvalue().split("\n")]

    @property
    def drawn(self) -> list[str]:
        """Everything that ever stood on a line."""
        return [text for line in self.getvalue().split("\n") for text in line.split("\r\x1b[K") if text]
