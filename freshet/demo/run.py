"""Starts the demo: chooses what is played, prepares the folder, runs the story."""

import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from freshet.demo.script import data_script, synthetic_script
from freshet.demo.story import Demo, DemoFailed
from freshet.learning import LOCK_FILE as LEARNING_LOCK
from freshet.paths import LOG_FILE
from freshet.settings import InForce
from models.durable import LockTimeoutError, file_lock, write_durably
from monitoring.logs import configure_logging
from stream.kafka.settings import SCHEME

MARKER = "freshet-demo"  # holds the demo's name; a folder without it is never deleted
LOG_LOCK = f"{LOG_FILE}.lock"  # held by who has the embedded log


@dataclass(frozen=True)
class DemoOptions:
    """What was asked for on the command line.

    Args:
        data: Data folder; None is the synthetic shop.
        is_check: End by itself and judge.
        is_fresh: Start over.
        summary: Where the JSON summary goes; None is in the data folder.
    """

    data: Path | None = None
    is_check: bool = False
    is_fresh: bool = False
    summary: Path | None = None


def run_demo(in_force: InForce, options: DemoOptions) -> int:
    """Play the story.

    Returns:
        0, or 1 when `is_check` and a promise did not hold.

    Raises:
        DemoFailed, WrongTape, DatasetError, PortTaken, LogError: it cannot go on.
    """
    script = synthetic_script()
    if options.data is not None:
        script = data_script(options.data, kinds=in_force.settings.event_kinds())
    given = {name: value for name, value in script.overrides.items() if in_force.sources[name] == "default"}
    settings = in_force.settings.model_copy(update=given)
    name = _prepare_folder(settings.data_dir, is_fresh=options.is_fresh)
    settings = settings.model_copy(update={"log": _own_log(in_force, name)})
    if options.summary is not None and not options.summary.absolute().parent.is_dir():
        raise DemoFailed(f"--summary {options.summary}: there is no folder {options.summary.absolute().parent}")
    configure_logging("error")
    return Demo(settings, script, is_check=options.is_check, summary=options.summary).run()


def _prepare_folder(folder: Path, *, is_fresh: bool) -> str:
    """Make the folder a demo's own.

    Returns:
        The name of this demo, the same as long as the folder is kept.
    """
    marker = folder / MARKER
    if folder.exists() and any(folder.iterdir()) and not marker.exists():
        raise DemoFailed(f"{folder} was not made by the demo; name another folder with --data-dir")
    folder.mkdir(parents=True, exist_ok=True)
    if is_fresh and marker.exists():
        _clear(folder)
    if is_fresh or not marker.exists():
        write_durably(marker, f"demo-{uuid.uuid4().hex[:8]}\n".encode())
    return marker.read_text(encoding="utf-8").strip()


def _clear(folder: Path) -> None:
    """Delete what an earlier demo kept. The marker stays, and the locks: whoever runs must go on sharing them."""
    try:
        with file_lock(folder / LOG_LOCK, timeout_s=0.0), file_lock(folder / LEARNING_LOCK, timeout_s=0.0):
            for path in folder.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif path.name not in (MARKER, LOG_LOCK, LEARNING_LOCK):
                    path.unlink()
    except LockTimeoutError as exc:
        raise DemoFailed(f"{folder} is in use; stop what runs there, or name another folder with --data-dir") from exc


def _own_log(in_force: InForce, name: str) -> str:
    """The log with a prefix of this demo's own: brokers keep what earlier demos wrote.

    A prefix given with --log stays; one that is set for a service is the service's.
    """
    log = in_force.settings.log
    servers, _, prefix = log.removeprefix(SCHEME).partition("/")
    if not log.startswith(SCHEME) or (prefix and in_force.sources["log"] == "argument"):
        return log
    return f"{SCHEME}{servers}/{name}."
