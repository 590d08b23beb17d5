"""What lies where in the data folder; docs/runbook.md says what each is for."""

from dataclasses import dataclass
from pathlib import Path

from consumers.learning.cycle_settings import Folders

LOG_FILE = "log.sqlite"


@dataclass(frozen=True)
class Paths:
    """What lies where in the data folder."""

    root: Path

    @property
    def log(self) -> Path:
        """The embedded log."""
        return self.root / LOG_FILE

    @property
    def snapshots(self) -> Path:
        """Sequences by partition."""
        return self.root / "snapshots"

    @property
    def windows(self) -> Path:
        """Open attribution windows by partition."""
        return self.root / "windows"

    @property
    def memory(self) -> Path:
        """The fast memory and the blend."""
        return self.root / "memory"

    @property
    def work(self) -> Path:
        """The trainer's own."""
        return self.root / "trainer"

    @property
    def folders(self) -> Folders:
        """What the trainer's process shares."""
        return Folders(
            buffer=self.root / "segments",
            registry=self.root / "registry",
            features=self.root / "features",
            images=self.root / "images",
            work=self.work,
        )
