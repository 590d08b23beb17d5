"""Where an evaluation writes: checked before hours of training, not after."""

from __future__ import annotations

import uuid
from pathlib import Path

from freshet.evaluation.data import EvaluationError

PICTURE = ".png"


def check_outputs(json: Path | None, plot: Path | None) -> None:
    """Refuse files that figures or picture could not be written to.

    Raises:
        EvaluationError: one is a folder, lies where nothing can be written, or has the other's ending.
    """
    if json is not None:
        _check_file("--json", json)
        if json.suffix.lower() == PICTURE:
            raise EvaluationError(f"--json {json} has a picture's name; end it in .json: the picture goes to --plot")
    if plot is not None:
        _check_file("--plot", plot)
        if plot.suffix.lower() != PICTURE:
            raise EvaluationError(f"--plot {plot} must end in {PICTURE}, the only format there is")
    elif json is not None:
        _check_file(f"--json {json} puts the picture beside it, and", json.with_suffix(PICTURE))


def check_runs(folder: Path) -> None:
    """Refuse a folder that runs could not be kept in; what is missing of it is made later.

    Raises:
        EvaluationError: it, or one above it, is a file, or nothing can be written there.
    """
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        raise EvaluationError(f"--runs {folder}: {there} is a file; name a folder")
    _check_writable("--runs", folder, there / "run")


def _check_file(option: str, path: Path) -> None:
    if path.is_dir():
        raise EvaluationError(f"{option} {path} is a folder; name a file")
    if not path.parent.is_dir():
        raise EvaluationError(f"{option} {path} lies in a folder that does not exist; make {path.parent} first")
    _check_writable(option, path, path)


def _check_writable(option: str, asked: Path, path: Path) -> None:
    """Write beside `path` as `write_durably` will, and take it away again."""
    tried = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        tried.touch(exist_ok=False)
        tried.unlink()
    except OSError as exc:
        raise EvaluationError(f"{option} {asked} cannot be written ({exc.strerror}); name another place") from exc
