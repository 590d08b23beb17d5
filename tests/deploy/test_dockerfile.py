"""The Dockerfile, read and not built: what it copies is there, and what it must not do it does not."""

import re
import tomllib

from tests.deploy.tools import ROOT

TEXT = (ROOT / "Dockerfile").read_text()
LINES = re.sub(r"\\\n", " ", TEXT).splitlines()


def _instructions(name: str) -> list[str]:
    return [line.removeprefix(f"{name} ") for line in LINES if line.startswith(f"{name} ")]


def _copied() -> set[str]:
    """What is copied from the repository."""
    copies = [line.split() for line in _instructions("COPY") if not line.startswith("--from")]
    return {source for parts in copies for source in parts[:-1]}


def test_both_stages_start_from_one_pinned_image() -> None:
    assert _instructions("ARG")[0] == "PYTHON_IMAGE=python:3.11.14-slim-bookworm"
    assert _instructions("FROM") == ["${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"]


def test_processes_run_as_a_user_without_rights_and_are_watched() -> None:
    assert _instructions("USER") == ["10001:10001"]
    assert len(_instructions("HEALTHCHECK")) == 1
    assert _instructions("CMD") == ['["freshet", "serve"]']


def test_every_package_of_the_project_is_copied() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {name.rstrip("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    files = {"constraints.txt", "pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}

    assert _copied() == packages | files
    assert all((ROOT / source).exists() for source in _copied())


def test_what_is_copied_is_sent_to_the_builder_and_nothing_else() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]

    assert rules[0] == "*"
    assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == _copied()


def test_everything_is_installed_within_the_constraints() -> None:
    installs = re.findall(r"pip install ([^&;\n]+)", "\n".join(_instructions("RUN")))

    assert [install.strip() for install in installs] == [
        '--no-deps --constraint constraints.txt --index-url "${TORCH_INDEX}" torch',
        "--constraint constraints.txt '.[worker]'",
        "--no-deps .",
    ]
    assert "worker" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def test_no_secret_is_in_the_image() -> None:
    given = " ".join(_instructions("ENV") + _instructions("ARG")).lower()

    assert not re.search(r"key|password|secret|token", given)
