"""A registry whose writer is killed at random moments: what is published is whole, what is half is cleaned."""

import multiprocessing
import random
import threading
from pathlib import Path

import pytest

from models.registry.bundle import DataSpan, Manifest
from models.registry.registry import Registry
from tests.waiting import wait_until

DRAFT = Manifest(created_ms=0, config={"cycle": 1}, tower_revisions={}, data=DataSpan(), seed=0, code_version="0")


def publish_for_ever(root: Path) -> None:
    registry = Registry(root)
    registry.clean()
    while True:
        stage = registry.stage()
        for name in ("model.safetensors", "items.json"):
            (stage / name).write_bytes(random.randbytes(5_000))
        registry.promote(registry.publish(stage, DRAFT), by="operator", reason="")
        registry.refuse(reason="and another", metrics={})
        registry.prune(keep=3)


@pytest.mark.parametrize("seed", range(10))
def test_a_killed_writer_leaves_only_whole_versions(tmp_path: Path, seed: int) -> None:
    root = tmp_path / "registry"
    rng = random.Random(seed)
    context = multiprocessing.get_context("fork")
    for _ in range(3):
        process = context.Process(target=publish_for_ever, args=(root,))
        process.start()
        wait_until(Registry(root).versions)
        threading.Event().wait(rng.uniform(0.0, 0.1))  # the moment of the kill is what varies
        process.kill()
        process.join(timeout=10)

        registry = Registry(root)
        pointer = registry.current()
        for version in registry.versions():
            registry.open(version)
        if pointer is not None:
            assert pointer.version in registry.versions()
        assert all(refusal.reason == "and another" for refusal in registry.refusals())
