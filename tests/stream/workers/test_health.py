from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest

from stream.workers.health import HealthServer
from stream.workers.metrics import WorkerMetrics


@pytest.fixture
def facts() -> dict[str, object]:
    return {"is_alive": True, "is_ready": False}


@pytest.fixture
def url(facts: dict[str, object]) -> Iterator[str]:
    with closing(HealthServer(("127.0.0.1", 0), WorkerMetrics().registry, lambda: facts)) as server:
        yield f"http://127.0.0.1:{server.port}"


def test_worker_that_recovers_is_alive_and_not_ready(url: str) -> None:
    assert httpx.get(f"{url}/healthz").status_code == 200
    answer = httpx.get(f"{url}/readyz")
    assert (answer.status_code, answer.json()) == (503, {"is_alive": True, "is_ready": False})


def test_metrics_carry_the_workers_names(url: str) -> None:
    assert "freshet_worker_outcomes_total 0.0" in httpx.get(f"{url}/metrics").text


def test_port_that_is_taken_is_named_with_what_to_do(url: str) -> None:
    port = int(url.rpartition(":")[2])
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port} .*FRESHET_METRICS_PORT"):
        HealthServer(("127.0.0.1", port), WorkerMetrics().registry, dict)


def test_other_paths_are_not_found(url: str) -> None:
    assert httpx.get(f"{url}/admin").status_code == 404
