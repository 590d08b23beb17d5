"""An environment of its own for each library, made with pip when it is not there; never ours.

Both get the PyTorch that we run on, so that what is compared is the libraries.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

ENVIRONMENTS = Path(".cache")


@dataclass(frozen=True)
class Library:
    """What a rival is installed from.

    Attributes:
        name: of it and of its environment's folder.
        requirements: as pip takes them.
    """

    name: str
    requirements: tuple[str, ...]

    @property
    def stamp(self) -> str:
        """Changes with the requirements; the name of the file that says they are installed."""
        return "installed-" + hashlib.sha256("\n".join(self.requirements).encode()).hexdigest()[:12]


def torch_requirement(installed: str) -> str:
    """The same PyTorch, whatever it was built for.

    >>> torch_requirement("2.9.1+cpu")
    'torch==2.9.1'
    """
    return f"torch=={installed.partition('+')[0]}"


def rectools() -> Library:
    """RecTools with its transformers; the rest is for our evaluation, which runs there too."""
    of_ours = ("msgspec", "river", "safetensors")
    return Library("rectools", ("rectools[torch]==0.19.0", torch_requirement(version("torch")), *of_ours))


def recbole() -> Library:
    """RecBole needs what was removed from numpy 1.24, pandas 2 and setuptools 81."""
    old = ("numpy==1.23.5", "pandas==1.5.3", "setuptools<81")
    return Library("recbole", ("recbole==1.2.1", *old, torch_requirement(version("torch"))))


def library_python(library: Library, folder: Path = ENVIRONMENTS) -> Path:
    """The Python of the library's environment; made at the first call, which takes minutes.

    Raises:
        subprocess.CalledProcessError: it could not be installed.
    """
    python = folder / library.name / "bin" / "python"
    stamp = folder / library.name / library.stamp
    if not stamp.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder / library.name)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *library.requirements], check=True)
        stamp.touch()
    return python
