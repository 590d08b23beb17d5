"""The client in front of a service that wants a key."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from freshet.client import ApiError, Client
from tests.serving.live import serve
from tests.serving.world import running_world

READ = "read-0123456789ab"


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with running_world(tmp_path) as world, serve(world, {READ: "read"}) as running:
        yield running


def test_key_of_the_environment_is_sent(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHET_API_KEY", READ)

    with Client(address) as client:
        assert client.get("/v1/users") == {"n_users": 0, "users": []}


def test_key_that_is_given_wins(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHET_API_KEY", "another-0123456789")

    with Client(address, READ) as client:
        assert client.get("/v1/users")["n_users"] == 0


def test_without_a_key_it_is_said_where_one_is_set(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRESHET_API_KEY", raising=False)

    with Client(address) as client, pytest.raises(ApiError, match="set FRESHET_API_KEY to a key of the service"):
        client.get("/v1/users")
