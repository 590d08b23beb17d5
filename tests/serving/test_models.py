"""Model versions over HTTP: looking, promoting, rolling back."""

import errno
from pathlib import Path

import pytest

from models.registry import registry
from models.registry.kept_blend import KeptBlend
from tests.serving.world import AppClient, HandRanker, World


def test_published_versions_are_listed_newest_first(client: AppClient, world: World) -> None:
    first, second = world.publish_model(b"one"), world.publish_model(b"two")
    world.registry.promote(first, by="gate", reason="better")
    world.serve_model(HandRanker(first, ["a"]))

    answer = client.get("/v1/models").json()

    assert [model["version"] for model in answer["models"]] == [second, first]
    assert [model["is_current"] for model in answer["models"]] == [False, True]
    assert answer["serving"] == first
    assert answer["current"]["promoted_by"] == "gate"
    assert answer["models"][1]["metrics"] == {"recall_at_10": 0.2}


def test_weights_of_the_blend_are_shown_with_the_version_that_keeps_them(client: AppClient, world: World) -> None:
    world.publish_model()
    world.publish_model(blend=KeptBlend((1.0, 0.8, 0.1, -2.5), (0.0,) * 4, 0.004, 0.001, 812))

    answer = client.get("/v1/models").json()

    assert [model["blend"] for model in answer["models"]] == [
        {"model": 1.0, "memory": 0.8, "trending": 0.1, "seen": -2.5, "gain_ndcg_at_10": 0.004, "standard_error": 0.001},
        None,
    ]


def test_promoting_by_hand_moves_the_pointer_and_keeps_the_reason(client: AppClient, world: World) -> None:
    version = world.publish_model()

    answer = client.post(f"/v1/models/{version}/promote", json={"reason": "looks good"})

    assert answer.status_code == 200
    assert answer.json()["version"] == version
    assert answer.json()["reason"] == "looks good"
    pointer = world.registry.current()
    assert pointer is not None
    assert pointer.promoted_by == "operator"


def test_rolling_back_returns_to_the_previous_version_and_pauses_the_gate(client: AppClient, world: World) -> None:
    first, second = world.publish_model(b"one"), world.publish_model(b"two")
    client.post(f"/v1/models/{first}/promote")
    client.post(f"/v1/models/{second}/promote")

    answer = client.post("/v1/models/rollback")

    assert answer.status_code == 200
    assert (answer.json()["version"], answer.json()["paused"]) == (first, True)


def test_rolling_back_from_a_version_twice_happens_once(client: AppClient, world: World) -> None:
    first, second = world.publish_model(b"one"), world.publish_model(b"two")
    client.post(f"/v1/models/{first}/promote")
    client.post(f"/v1/models/{second}/promote")

    assert client.post(f"/v1/models/{second}/rollback").json()["version"] == first
    again = client.post(f"/v1/models/{second}/rollback")

    assert again.status_code == 409
    assert again.json()["detail"] == f"{second} is not current ({first} is); nothing was changed"


def test_rolling_back_without_a_previous_version_is_409(client: AppClient, world: World) -> None:
    version = world.publish_model()
    client.post(f"/v1/models/{version}/promote")

    answer = client.post("/v1/models/rollback")

    assert answer.status_code == 409
    assert "cannot roll back" in answer.json()["detail"]


def test_an_unknown_version_is_404_naming_the_known_ones(client: AppClient, world: World) -> None:
    version = world.publish_model()

    for path in ("v000009-00000000/promote", "v000009-00000000/rollback", "..%2F..%2Fetc/promote"):
        answer = client.post(f"/v1/models/{path}")
        assert answer.status_code == 404
        assert version in answer.json()["detail"]


def test_a_damaged_bundle_cannot_be_promoted_and_says_what_to_do(client: AppClient, world: World) -> None:
    version = world.publish_model()
    (world.registry.path(version) / "model.safetensors").write_bytes(b"other")

    answer = client.post(f"/v1/models/{version}/promote")

    assert answer.status_code == 409
    assert "does not match its checksum" in answer.json()["detail"]


def test_a_version_whose_manifest_is_damaged_is_listed_apart_from_the_others(client: AppClient, world: World) -> None:
    damaged, sound = world.publish_model(), world.publish_model()
    (world.registry.path(damaged) / "manifest.json").write_text("{")

    listed = client.get("/v1/models").json()

    assert [model["version"] for model in listed["models"]] == [sound]
    assert listed["damaged"] == [damaged]


@pytest.mark.parametrize("path", ["{version}/promote", "rollback", "{version}/rollback"])
def test_a_disk_that_refuses_the_pointer_is_503_and_to_be_tried_again(
    client: AppClient, world: World, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    first, second = world.publish_model(b"one"), world.publish_model(b"two")
    for version in (first, second):
        world.registry.promote(version, by="operator", reason="better")

    def refuse(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(registry, "write_durably", refuse)
    answer = client.post(f"/v1/models/{path.format(version=second)}")

    assert answer.status_code == 503
    assert answer.json()["detail"] == (
        "the pointer cannot be moved: [Errno 28] No space left on device; free space, then try again"
    )


def test_a_damaged_pointer_is_told_and_repaired_by_promoting(client: AppClient, world: World) -> None:
    version = world.publish_model()
    (world.registry.root / "current.json").write_text("{")

    told = client.get("/v1/models")
    repaired = client.post(f"/v1/models/{version}/promote")

    assert told.status_code == 409
    assert "is damaged" in told.json()["detail"]
    assert repaired.status_code == 200
    assert client.get("/v1/models").json()["current"]["version"] == version
