"""What `make` would run."""

import subprocess

from tests.deploy.tools import ROOT


def demo(*variables: str) -> str:
    command = ["make", "--dry-run", "--always-make", "--no-print-directory", "demo", *variables]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.splitlines()[-1]


def test_demos_on_the_embedded_log_and_on_kafka_have_data_folders_of_their_own() -> None:
    assert '--data-dir "freshet-data" ' in demo()
    assert '--data-dir "freshet-data-kafka" ' in demo("LOG=kafka://127.0.0.1:9092")


def test_a_folder_that_is_named_is_used_with_any_log() -> None:
    assert '--data-dir "mine" ' in demo("LOG=kafka://127.0.0.1:9092", "DATA_DIR=mine")
