"""One world and one client for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.serving.world import AppClient, HandRanker, World, running_world


@pytest.fixture(autouse=True)
def quiet_logs() -> Iterator[None]:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.reset_defaults()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with running_world(tmp_path) as running:
        yield running


@pytest.fixture
def client(world: World) -> Iterator[AppClient]:
    with world.client() as running:
        yield running


@pytest.fixture
def model(world: World) -> HandRanker:
    """A model that knows items a to f is serving."""
    ranker = HandRanker("v1", ["a", "b", "c", "d", "e", "f"])
    world.serve_model(ranker)
    return ranker
