"""The broker's Java libraries: resolved once by Maven from the pinned `pom.xml`, kept in a cache folder."""

import hashlib
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
POM = HERE / "pom.xml"
MAVEN_TIMEOUT_S = 600
NEEDED_JAVA = 17


class BrokerError(Exception):
    """The broker cannot be had or does not answer."""


def missing_tools() -> list[str]:
    """What this machine lacks to run a broker; empty when it can."""
    return [tool for tool in ("java", "mvn") if shutil.which(tool) is None]


def jars(cache: Path) -> Path:
    """The folder of the libraries that `pom.xml` names; fetched when they are not there yet.

    Args:
        cache: where they are kept, one folder for each content of `pom.xml`.

    Raises:
        BrokerError: Java or Maven is missing, or Maven failed.
    """
    folder = cache / f"jars-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}"
    if folder.is_dir():
        return folder
    missing = missing_tools()
    if missing:
        raise BrokerError(f"{' and '.join(missing)} not found; install Java {NEEDED_JAVA} or newer, and Maven")
    unfinished = folder.with_suffix(".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    _run_maven(unfinished)
    unfinished.replace(folder)
    return folder


def _run_maven(folder: Path) -> None:
    command = ["mvn", "--batch-mode", "--quiet", "--file", str(POM), "dependency:copy-dependencies"]
    options = [f"-DoutputDirectory={folder.resolve()}", "-DincludeScope=runtime"]
    try:
        done = subprocess.run(
            [*command, *options], capture_output=True, text=True, timeout=MAVEN_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise BrokerError(f"Maven did not finish in {MAVEN_TIMEOUT_S} s; is the network there?") from exc
    if done.returncode:
        raise BrokerError(f"Maven failed with status {done.returncode}: {done.stdout[-2_000:]}{done.stderr[-500:]}")
