"""docker-compose.yml: read by Debian's docker-compose and by the compose specification; no engine is needed."""

import ipaddress
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from freshet.settings import Settings
from stream.worker_settings import WorkerSettings
from tests.deploy.tools import COMPOSE, ROOT, composed, run, tool

KEYS = '{"admin-0123456789a": "admin", "ingest-0123456789": "ingest"}'
SECRETS = {"FRESHET_API_KEYS": KEYS, "GRAFANA_PASSWORD": "a-password"}
SERVICES = {"kafka", "api", "replica", "worker", "trainer", "watcher", "prometheus", "grafana"}
FRESHET = SERVICES - {"kafka", "prometheus", "grafana"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The file alone, away from anybody's .env."""
    shutil.copy(COMPOSE, tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return composed(tmp_path_factory.mktemp("compose"), SECRETS)


def _environment(service: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in service["environment"].items()}


def test_docker_compose_reads_it_with_secrets(folder: Path) -> None:
    done = run([tool("docker-compose", "docker-compose"), "config", "-q"], SECRETS, folder)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("value", [None, ""])
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("FRESHET_API_KEYS", "set it to the API keys and their roles as JSON, see .env.example"),
        ("GRAFANA_PASSWORD", "set a password for the user admin of Grafana, see .env.example"),
    ],
)
def test_without_a_secret_nothing_starts_and_it_is_said_what_to_set(
    folder: Path, name: str, told: str, value: str | None
) -> None:
    others = {key: secret for key, secret in SECRETS.items() if key != name}
    given = others if value is None else others | {name: value}

    done = run([tool("docker-compose", "docker-compose"), "config", "-q"], given, folder)

    assert done.returncode == 1
    assert told in done.stderr


def test_keys_in_an_env_file_arrive_as_they_are_written(folder: Path) -> None:
    (folder / ".env").write_text(f"FRESHET_API_KEYS={KEYS}\nGRAFANA_PASSWORD=a-password\n")

    done = run([tool("docker-compose", "docker-compose"), "config"], {}, folder)

    assert done.returncode == 0, done.stderr
    api = yaml.safe_load(done.stdout)["services"]["api"]
    assert json.loads(api["environment"]["FRESHET_API_KEYS"]) == json.loads(KEYS)


def test_example_of_the_env_file_has_what_is_asked_for_with_its_defaults_and_no_secret() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    asked_for = re.findall(r"(?<!\$)\$\{(\w+):(?:-(\w+)|\?)", COMPOSE.read_text())

    assert values == dict(asked_for)
    assert all(values[name] == "" for name in SECRETS)
    assert ".env" in (ROOT / ".gitignore").read_text().split()


def test_it_is_as_the_compose_specification_wants_it() -> None:
    done = run([sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)])

    assert done.returncode == 0, done.stdout + done.stderr


def test_no_key_is_written_twice_in_one_place() -> None:
    """YAML in Python lets the last one win; compose v2 refuses the file."""
    for node in _nodes(yaml.compose(COMPOSE.read_text())):
        names = [key.value for key, _ in node.value]
        assert len(names) == len(set(names)), names


def _nodes(node: yaml.Node) -> list[yaml.MappingNode]:
    if isinstance(node, yaml.MappingNode):
        return [node, *(found for _, value in node.value for found in _nodes(value))]
    if isinstance(node, yaml.SequenceNode):
        return [found for value in node.value for found in _nodes(value)]
    return []


def test_services_are_the_ones_that_are_meant(services: dict[str, Any]) -> None:
    assert set(services) == SERVICES
    assert services["replica"]["profiles"] == ["scale-out"]


def test_every_image_is_pinned(services: dict[str, Any]) -> None:
    images = {service["image"] for service in services.values()}

    assert images == {"apache/kafka:4.1.1", "freshet:0.1.0", "grafana/grafana:12.1.1", "prom/prometheus:v3.5.0"}


def test_every_service_has_a_health_check_limits_and_restarts(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name
        assert service["mem_limit"], name
        assert service["cpus"] > 0, name
        assert service["pids_limit"] > 0, name
        assert service["restart"] == "unless-stopped", name


def test_no_service_may_more_than_it_must(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert not {"privileged", "cap_add", "devices", "pid", "network_mode", "ipc"} & set(service), name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("read_only", False) == (name != "kafka"), name
        assert not any("docker.sock" in volume for volume in service.get("volumes", [])), name


def test_what_is_published_is_published_on_loopback_only(services: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}

    assert set(published) == {"api", "prometheus", "grafana"}
    for ports in published.values():
        for port in ports:
            assert ipaddress.ip_address(port.split(":")[0]).is_loopback


@pytest.mark.parametrize("name", sorted(FRESHET - {"worker"}))
def test_service_settings_can_be_used(
    services: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    command = " ".join(services[name]["command"])
    role = re.search(r"freshet serve --roles (\w+)", command)
    assert role is not None
    for variable, value in _environment(services[name]).items():
        monkeypatch.setenv(variable, value)
    for variable, value in re.findall(r"(FRESHET_\w+)=(\S+)", command):  # set by its command
        monkeypatch.setenv(variable, value.replace("$${HOSTNAME}", "c0ffee").replace("${HOSTNAME}", "c0ffee"))

    settings = Settings(data_dir=tmp_path, roles=[role[1]])

    assert settings.log == "kafka://kafka:9092"
    assert settings.host == "0.0.0.0"
    assert settings.api_keys == json.loads(KEYS)
    assert settings.partitions == 4
    assert settings.public_url == ("http://c0ffee:8000" if role[1] == "feeds" else None)


def test_every_variable_of_a_service_is_a_setting(services: dict[str, Any]) -> None:
    known = {f"FRESHET_{name.upper()}" for name in Settings.model_fields}

    for name in FRESHET - {"worker"}:
        assert set(_environment(services[name])) <= known, name
    assert "FRESHET_PUBLIC_URL" in known  # set by the command of api and replica


def test_worker_settings_can_be_used_and_hold_no_key(services: dict[str, Any]) -> None:
    environment = _environment(services["worker"])

    settings = WorkerSettings.from_environment(environment)

    assert settings.partitions == 4
    assert str(settings.data_dir) == "/state"
    assert settings.metrics_port == 8001
    assert "FRESHET_API_KEYS" not in environment
    assert services["worker"]["volumes"] == ["/state"]


def test_services_come_in_the_order_in_which_they_need_each_other(services: dict[str, Any]) -> None:
    needs = {name: list(service.get("depends_on", {})) for name, service in services.items()}

    assert needs == {name: ["kafka"] for name in FRESHET} | {"kafka": [], "prometheus": [], "grafana": ["prometheus"]}


def test_folders_that_are_mounted_exist() -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    volumes = [volume for service in services.values() for volume in service.get("volumes", [])]
    mounted = sorted(volume.split(":")[0] for volume in volumes if volume.startswith("."))

    assert mounted == [
        "./monitoring/grafana/dashboards",
        "./monitoring/grafana/provisioning",
        "./monitoring/prometheus",
    ]
    assert all((ROOT / folder).is_dir() for folder in mounted)
