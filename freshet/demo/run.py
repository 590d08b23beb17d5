"""Starts the demo: chooses what is played, prepares the folder, runs the story."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from freshet.demo.script import data_script, synthetic_script
from freshet.demo.story import Demo, DemoFailed
from freshet.settings import InForce
from monitoring.logs import configure_logging

MARKER = "freshet-demo"  # a folder without it is never deleted


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
    script = synthetic_script() if options.data is None else data_script(options.data)
    given = {name: value for name, value in script.overrides.items() if in_force.sources[name] == "default"}
    settings = in_force.settings.model_copy(update=given)
    _prepare_folder(settings.data_dir, is_fresh=options.is_fresh)
    configure_logging("error")
    return Demo(settings, script, is_check=options.is_check, summary=options.summary).run()


def _prepare_folder(folder: Path, *, is_fresh: bool) -> None:
    marker = folder / MARKER
    if folder.exists() and any(folder.iterdir()) and not marker.exists():
        raise DemoFailed(f"{folder} was not made by the demo; name another folder with --data-dir")
    if is_fresh:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    marker.write_text("made by `freshet demo`; `freshet demo --fresh` deletes this folder\n", encoding="utf-8")
