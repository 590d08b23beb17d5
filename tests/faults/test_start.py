"""What keeps a service from starting, or from answering well, is said in one line that tells what to do."""

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from consumers.learning.segments import MANIFEST
from models.registry.bundle import WEIGHTS
from models.registry.registry import Registry
from tests.faults.conftest import N_EVENTS
from tests.faults.process import ROOT, SMALL, ServiceProcess, run_freshet, wait_until
from tests.faults.traffic import event, expected_history, wait_for_history

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LOADING = "the current version is being loaded"
NO_CYCLES = {"CYCLE_EVENTS": "100000", "CYCLE_S": "100000"}


def refusal(finished: subprocess.CompletedProcess[str]) -> str:
    """The one line that a command which could not do its work printed."""
    assert finished.returncode == 1, finished
    assert finished.stdout == ""
    (line,) = finished.stderr.splitlines()
    assert line.startswith("freshet: ")
    return line


def refused_start(data_dir: Path, *arguments: str, **settings: str) -> str:
    serve = ("serve", "--data-dir", str(data_dir), "--port", "0", *arguments)
    return refusal(run_freshet(*serve, settings=SMALL | settings))


def model_reason(service: ServiceProcess) -> str:
    """Why the model does not answer, once that is known."""
    return str(wait_until(lambda: _problem(service.reasons()), "a reason"))


def _problem(reasons: dict[str, str]) -> str | None:
    reason = reasons.get("model")
    return None if reason == LOADING else reason


def publish_other_shape(data_dir: Path) -> tuple[str, str]:
    """A second version whose weights are of another shape; the versions before and after."""
    registry = Registry(data_dir / "registry")
    good = registry.versions()[-1]
    stage = registry.stage()
    shutil.copytree(registry.path(good), stage, dirs_exist_ok=True)
    weights = load_file(stage / WEIGHTS)
    name = next(iter(weights))
    save_file({**weights, name: torch.zeros(3, 5)}, stage / WEIGHTS)
    (stage / "manifest.json").unlink()
    bad = registry.publish(stage, registry.manifest(good))
    registry.promote(bad, by="operator", reason="to see what happens")
    return good, bad


# Cannot start ---------------------------------------------------------------------------------------------------


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_port_taken_is_said_with_the_way_out(tmp_path: Path, taken_port: int) -> None:
    assert refused_start(tmp_path / "data", "--port", str(taken_port)) == (
        f"freshet: cannot listen on 127.0.0.1:{taken_port}: Address already in use; "
        "free it, or choose another: --port N or FRESHET_PORT"
    )


def test_missing_folder_is_made_and_a_second_process_on_it_is_refused(tmp_path: Path) -> None:
    data_dir = tmp_path / "not" / "yet" / "there"
    with ServiceProcess(data_dir, log=tmp_path / "log") as service:
        service.wait_until_ready()
        assert refused_start(data_dir) == (
            f"freshet: {data_dir}/log.sqlite.lock is held by process {service.pid}; stop it, or use another data folder"
        )
        assert service.get("/healthz") == {"status": "ok", "reasons": {}}


def test_data_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    line = refused_start(tmp_path / "data")
    assert line.startswith("freshet: data_dir=")
    assert line.endswith("is a file; name a folder")


def test_data_folder_inside_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    line = refused_start(tmp_path / "data" / "inside")
    assert f"{tmp_path}/data/inside" in line
    assert "name a folder" in line


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("COLOUR", "red", "unknown settings in the environment: FRESHET_COLOUR; see `freshet config`"),
        ("SEQUENCE_LENGTH", "256", "sequence_length='256' (environment): Input should be less than or equal to 255"),
        ("HOST", "0.0.0.0", "host='0.0.0.0' (environment): must be a loopback address without api_keys"),
        ("CONFIG", "/no/such/file.toml", "FRESHET_CONFIG=/no/such/file.toml: there is no such file"),
    ],
)
def test_setting_that_cannot_be_used_is_named_with_its_source(
    tmp_path: Path, name: str, value: str, message: str
) -> None:
    assert message in refused_start(tmp_path / "data", **{name: value})
    assert not (tmp_path / "data").exists()


def test_settings_file_with_an_unknown_name_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "freshet.toml"
    file.write_text("colour = 'red'\n")
    line = refused_start(tmp_path / "data", CONFIG=str(file))
    assert line == f"freshet: unknown setting 'colour' in {file}; see `freshet config`"


def test_other_number_of_partitions_than_the_log_has_is_refused(data_dir: Path) -> None:
    assert refused_start(data_dir, PARTITIONS="8") == (
        f"freshet: topic 'events' has 4 partitions in {data_dir}/log.sqlite and partitions=8 in the settings; "
        "keys would change places: set 4, or use a new data folder"
    )


def test_damaged_log_is_refused(data_dir: Path) -> None:
    for name in ("log.sqlite-wal", "log.sqlite-shm"):
        (data_dir / name).unlink(missing_ok=True)
    (data_dir / "log.sqlite").write_bytes(b"no database" * 1_000)
    assert refused_start(data_dir) == (
        f"freshet: cannot open the log {data_dir}/log.sqlite: file is not a database; "
        "free space, restore rights, or move the file away"
    )


def test_damaged_manifest_of_the_training_buffer_is_refused_and_moving_it_away_helps(data_dir: Path) -> None:
    segments = data_dir / "segments"
    (segments / MANIFEST).write_text('{"version": 1, "segments": [{"fi')
    line = refused_start(data_dir)
    assert line.startswith(f"freshet: {segments}/{MANIFEST} cannot be read: ")
    assert line.endswith("; move the folder away and the buffer is rebuilt from the log")
    segments.rename(data_dir / "away")
    with ServiceProcess(data_dir, NO_CYCLES) as service:
        wait_until(lambda: "freshet_training_rows 400.0" in service.request("GET", "/metrics").text, "the whole buffer")


def test_segments_of_another_log_are_refused(data_dir: Path) -> None:
    for file in data_dir.glob("log.sqlite*"):
        file.unlink()
    line = refused_start(data_dir)
    assert line.startswith(f"freshet: {data_dir}/segments/{MANIFEST} belongs to log ")
    assert line.endswith("; move the folder away or bring its log back")


# Starts, and says what is missing -------------------------------------------------------------------------------


def test_damaged_pointer_leaves_feeds_without_model_until_one_is_promoted(data_dir: Path) -> None:
    (data_dir / "registry" / "current.json").write_text('{"version": "v0000')
    version = Registry(data_dir / "registry").versions()[-1]
    with ServiceProcess(data_dir, NO_CYCLES) as service:
        reason = model_reason(service)
        assert reason.startswith(f"model pointer {data_dir}/registry/current.json is damaged: ")
        assert f"choose a version with `freshet models promote VERSION` (published: {version})" in reason
        wait_until(lambda: set(service.reasons()) == {"model"}, "all but the model")
        feed = service.get("/v1/feeds/user-1")
        assert (feed["degraded"], feed["model_version"], len(feed["items"])) == ("no_model", None, 20)

        done = run_freshet("models", "promote", version, "--data-dir", str(data_dir))
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"* {version}  parent -")
        service.wait_until_ready()
        assert service.wait_for_model() == version
        assert service.get("/v1/feeds/user-1")["degraded"] is None


def test_bundle_with_a_broken_checksum_is_neither_loaded_nor_promoted(data_dir: Path) -> None:
    registry = Registry(data_dir / "registry")
    version = registry.versions()[-1]
    weights = registry.path(version) / WEIGHTS
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 0xFF
    weights.write_bytes(raw)
    with ServiceProcess(data_dir, NO_CYCLES) as service:
        assert f"{version} is damaged: {WEIGHTS} does not match its checksum" in model_reason(service)
        assert service.get("/v1/feeds/user-1")["degraded"] == "no_model"
        line = refusal(run_freshet("models", "promote", version, "--data-dir", str(data_dir)))
        assert f"{WEIGHTS} does not match its checksum; promote another one" in line


def test_bundle_of_another_shape_leaves_the_model_before_it_answering(data_dir: Path) -> None:
    with ServiceProcess(data_dir, NO_CYCLES) as service:
        service.wait_for_model()
        good, bad = publish_other_shape(data_dir)
        assert f"{bad} is damaged: {WEIGHTS} does not fit the configuration" in model_reason(service)
        feed = service.get("/v1/feeds/user-1")
        assert (feed["degraded"], feed["model_version"]) == (None, good)

        assert run_freshet("models", "rollback", "--data-dir", str(data_dir)).returncode == 0
        service.wait_until_ready()
        assert service.wait_for_model() == good


def test_damaged_snapshot_is_set_aside_and_rebuilt_from_the_log(data_dir: Path) -> None:
    snapshot = data_dir / "snapshots" / "events-0.snapshot"
    snapshot.write_bytes(snapshot.read_bytes()[:-100])
    with ServiceProcess(data_dir, NO_CYCLES) as service:
        service.wait_until_ready()
        wait_for_history(service, expected_history([event(number) for number in range(N_EVENTS)]))
        assert "snapshot_set_aside" in service.printed()
    assert snapshot.with_name("events-0.snapshot.damaged").exists()


def test_import_of_the_service_needs_no_transformers() -> None:
    """Half of a start's seconds; only towers from the hub need it."""
    look = "import json, sys, freshet.service; print(json.dumps('transformers' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) is False
