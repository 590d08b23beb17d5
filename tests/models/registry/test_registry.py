import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from models.durable import file_lock
from models.registry.bundle import (
    Bundle,
    DamagedBundle,
    DamagedPointer,
    DataSpan,
    Manifest,
    NotCurrent,
    NothingToRollBack,
    PromotionPaused,
    RegistryBusy,
    RegistryError,
    UnknownVersion,
    write_item_ids,
)
from models.registry.kept_blend import KeptBlend
from models.registry.pointer import Pointer
from models.registry.registry import Registry


def registry_at(root: Path) -> Registry:
    return Registry(root / "registry", now_ms=lambda: 1_000, lock_timeout_s=0.05)


def draft(**changes: object) -> Manifest:
    values: dict[str, object] = {
        "created_ms": 7,
        "config": {"dim": 64, "cycle": 1},
        "tower_revisions": {"text": "tfidf-1"},
        "data": DataSpan(segments=("events-0.parquet",), offsets={0: 12, 1: 5}, n_events=17),
        "seed": 3,
        "code_version": "0.1.0",
        "metrics": {"recall_at_10": 0.25},
        "reason": "first",
    }
    return Manifest(**{**values, **changes})  # type: ignore[arg-type]


def publish(registry: Registry, weights: bytes = b"weights", **changes: object) -> str:
    stage = registry.stage()
    (stage / "model.safetensors").write_bytes(weights)
    write_item_ids(stage, ["a", "å", "c"])
    (stage / "towers").mkdir()
    (stage / "towers" / "text.json").write_text("{}")
    return registry.publish(stage, draft(**changes))


def test_published_bundle_reads_back_with_every_file_checked(tmp_path: Path) -> None:
    registry = registry_at(tmp_path)

    version = publish(registry)

    bundle = registry.open(version)
    assert version.startswith("v000001-")
    assert bundle.item_ids() == ("a", "å", "c")
    assert bundle.weights.read_bytes() == b"weights"
    assert bundle.manifest.version == version
    assert bundle.manifest.data == DataSpan(("events-0.parquet",), {0: 12, 1: 5}, 17)
    assert sorted(bundle.manifest.files) == ["items.json", "model.safetensors", "towers/text.json"]
    assert list((tmp_path / "registry" / "stages").iterdir()) == []


def test_bundle_is_on_the_disk_before_it_has_its_name(tmp_path: Path, disk_steps: Callable[[Path], list[str]]) -> None:
    registry = registry_at(tmp_path)
    stage = registry.stage()
    (stage / "towers").mkdir()
    (stage / "towers" / "text.json").write_text("{}")

    version = registry.publish(stage, draft())

    assert disk_steps(tmp_path / "registry" / "bundles") == [
        f"force {version}/towers/text.json",
        f"force {version}/towers",
        f"force {version}",
        f"force {version}/manifest.json",
        f"rename {version}/manifest.json",
        f"force {version}",
        f"rename {version}",
        "force .",
    ]


def test_versions_are_numbered_and_listed_oldest_first(tmp_path: Path) -> None:
    registry = registry_at(tmp_path)

    first, second = publish(registry), publish(registry, weights=b"other")

    assert second.startswith("v000002-")
    assert registry.versions() == [first, second]
    assert [m.version for m in registry.manifests()] == [first, second]


def test_publishing_alone_makes_nothing_current(tmp_path: Path) -> None:
    registry = registry_at(tmp_path)

    publish(registry)

    assert registry.current() is None


def test_an_empty_stage_is_refused(tmp_path: Path) -> None:
    registry = registry_at(tmp_path)

    with pytest.raises(RegistryError, match="holds no files; write the weights there before publishing"):
        registry.publish(registry.stage(), draft())


def test_promotion_remembers_the_previous_version(tmp_path: Path) -> None:
    registry = registry_at(tmp_path)
    first = publish(registry)
    second = publish(registry, parent=first)
    registry.promote(first, by="gate", reason="first")

    registry.promote(second, by="gate", reason="better")

    assert registry.current() == Pointer(second, first, "gate", "better", 1_000, paused=False)


def test_promoting_the_current_version_again_keeps_the_previous(tmp_path: Path) -> None:
    registry = registry_at(tmp_path)
    first = publish(registry)
    second = publish(registry, parent=first)
    registry.promote(first, by="gate", reason="")
    registry.promote(second, by="gate", reason="")

    assert registry.promote(second, by="operator", reason="sure").previous == first


def test_rollback_by_hand_pauses_the_gate_until_a_promotion_by_hand(tmp_path: Path) -> None:
    registry = registry_at(tmp_path)
    first = publish(registry)
    second, third = publish(registry, parent=first), publish(registry, parent=first)
    registry.promote(first, by="gate", reason="")
    registry.promote(second, by="gate", reason="")

    rolled_back = registry.rollback(by="operator", reason="feeds look odd")

    assert rolled_back == Pointer(first, None, "operator", "feeds look odd", 1_000, paused=True)
    with pytest.raises(PromotionPaused, match=f"{third} stays published but not current.*feeds look odd"):
        registry.promote(third, by="gate", reason="better")
    assert registry.current() == rolled_back
    assert third in registry.versions()

    assert registry.promote(third, by="operator", reason="checked").paused is False
    fourth = publish(registry, parent=third)
    assert registry.promote(fourth, by="gate", reason="better").version == fourth


def test_the_gate_replaces_only_the_version_it_judged_against(tmp_path: Path) -> None:
    registry = registry_at(tmp_path)
    first, chosen = publish(registry), publish(registry)
    child = publish(registry, parent=first)
    registry.promote(first, by="gate", reason="")
    by_hand = registry.promote(chosen, by="operator", reason="the other one is bad")

    with pytest.raises(
        NotCurrent,
        match=rf"{child} stays published but not current: it was judged against {first}, and {chosen} is current now "
        r"\(the other one is bad\)",
    ):
        registry.promote(child, by="gate", reason="better")

    assert registry.current() == by_hand
    assert registry.promote(publish(registry, parent=chosen), by="gate", reason="better").previous == chosen


def test_the_gate_leaves_alone_what_was_made_current_during_a_first_training(tmp_path: Path) -> None:
    registry = registry_at(tmp_path)
    fitted, first = publish(registry), publish(registry)
    registry.promote(fitted, by="operator", reason="fitted offline")

    with pytest.raises(NotCurrent, match=f"it was judged against none, and {fitted} is current now"):
        registry.promote(first, by="gate", reason="first model")


def test_the_gate_brings_nothing_back_where_the_pointer_was_deleted(tmp_path: Path) -> None:
    registry = registry_at(tmp_path)
    first = publish(registry)
    child = publish(registry, parent=first)

    with pytest.raises(NotCurrent, match=f"it was judged against {first}, and none is current now"):
        registry.promote(child, by="gate", reason="better")


def test_rollback_asked_for_one_version_leaves_another_alone(tmp_path: Path) -> None:
    registry = registry_at(tmp_path)
    first = publish(registry)
    second = publish(registry, parent=first)
    registry.promote(first, by="gate", reason="")
    registry.promote(second, by="gate", reason="")

    with pytest.raises(NotCurrent, match=rf"{first} is not current \({second} is\); nothing was changed"):
        registry.rollback(by="operator", reason="late", only_from=first)

    assert registry.current() == Pointer(second, first, "gate", "", 1_000)
    assert registry.rollback(by="operator", reason="now", only_from=second).version == first


def test_rollback_by_the_gate_does_not_pause(tmp_path: Path) -> None:
    registry = registry_at(tmp_path)
    first = publish(registry)
    second = publish(registry, parent=first)
    registry.promote(first, by="gate", reason="")
    registry.promote(second, by="gate", reason="")

    assert registry.rollback(by="gate", reason="worse live").paused is False


def test_rollback_without_a_previous_version_says_so(tmp_path: Path) -> None:
    registry = registry_at(tmp_path)
    with pytest.raises(NothingToRollBack, match="no model is current; choose one with `freshet models promote"):
        registry.rollback(by="operator", reason="")
    only = publish(registry)
    registry.promote(only, by="gate", reason="")

    with pytest.raises(NothingToRollBack, match=f"{only} is current and knows no previous one"):
        registry.rollback(by="operator", reason="")


@pytest.mark.parametrize("version", ["v000009-00000000", "../stages", "", "v1", "x" * 10_000])
def test_unknown_versions_are_named_beside_the_known_ones(tmp_path: Path, version: str) -> None:
    registry = registry_at(tmp_path)
    known = publish(registry)

    with pytest.raises(UnknownVersion, match=f"the newest published: {known}") as caught:
        registry.promote(version, by="operator", reason="")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "Expecting value"),
        (b'{"format": 1, "version"', "Expecting"),
        (b"[]", "expected a JSON object, found list"),
        (b'{"format": 2}', "format 2, this release reads 1"),
        (b'{"format": 1}', "field 'version' is missing"),
        (b"\xff\xfe{", "damaged"),
    ],
)
def test_a_damaged_pointer_is_one_clear_line(tmp_path: Path, raw: bytes, why: str) -> None:
    registry = registry_at(tmp_path)
    version = publish(registry)
    pointer = tmp_path / "registry" / "current.json"
    pointer.write_bytes(raw)

    with pytest.raises(DamagedPointer, match=why) as caught:
        registry.current()

    assert f"{pointer} is damaged" in str(caught.value)
    assert f"`freshet models promote VERSION` (published: {version}), or delete the file" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pointer_to_a_missing_bundle_is_damaged_and_a_promotion_by_hand_repairs_it(tmp_path: Path) -> None:
    registry = registry_at(tmp_path)
    first, second = publish(registry), publish(registry)
    registry.promote(first, by="gate", reason="")
    registry.path(first).rename(tmp_path / "gone")

    with pytest.raises(DamagedPointer, match=f"it names '{first}', which is not in"):
        registry.current()
    with pytest.raises(DamagedPointer):
        registry.promote(second, by="gate", reason="")
    assert registry.promote(second, by="operator", reason="repair") == Pointer(
        second, None, "operator", "repair", 1_000
    )


def test_a_changed_file_is_a_damaged_bundle_and_is_not_promoted(tmp_path: Path) -> None:
    registry = registry_at(tmp_path)
    version = publish(registry)
    registry.open(version).weights.write_bytes(b"changed")

    with pytest.raises(DamagedBundle, match=r"model\.safetensors does not match its checksum; promote another"):
        registry.promote(version, by="operator", reason="")
    assert registry.current() is None


def test_a_missing_file_is_a_damaged_bundle(tmp_path: Path) -> None:
    registry = registry_at(tmp_path)
    version = publish(registry)
    (registry.path(version) / "items.json").unlink()

    with pytest.raises(DamagedBundle, match=r"items\.json is missing"):
        registry.open(version)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"format": 9}, "format 9, this release reads 1"),
        ({"data": {}}, "field missing or of another type: 'segments'"),
        ({"data": None}, "field missing or of another type"),
        ({"blend": {"steady": [1.0]}}, "field missing or of another type: 'ageing'"),
    ],
)
def test_a_manifest_of_another_shape_is_a_damaged_bundle(tmp_path: Path, change: dict[str, object], why: str) -> None:
    registry = registry_at(tmp_path)
    path = registry.path(publish(registry)) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))

    with pytest.raises(DamagedBundle, match=why):
        Bundle.open(path.parent)


def test_weights_of_the_blend_are_kept_with_the_model_to_the_last_digit(tmp_path: Path) -> None:
    registry = registry_at(tmp_path)
    kept = KeptBlend((0.1 + 0.2, 1.2, 0.0, -2.5), (0.0, 0.1, 0.0, 0.0), 0.004, 1e-17, 812)

    assert registry.open(publish(registry, blend=kept)).manifest.blend == kept


def test_a_bundle_of_before_weights_were_kept_has_none(tmp_path: Path) -> None:
    registry = registry_at(tmp_path)
    path = registry.path(publish(registry)) / "manifest.json"
    values = json.loads(path.read_text())
    del values["blend"]
    path.write_text(json.dumps(values))

    assert Bundle.open(path.parent).manifest.blend is None


def test_fields_of_a_newer_writer_are_ignored(tmp_path: Path) -> None:
    registry = registry_at(tmp_path)
    path = registry.path(publish(registry)) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "colour": "blue"}))

    assert Bundle.open(path.parent).manifest.seed == 3


def test_refusals_survive_a_torn_last_line(tmp_path: Path) -> None:
    registry = registry_at(tmp_path)
    registry.refuse(reason="worse by 0.02", metrics={"recall_at_10": 0.1}, parent=None)
    with (tmp_path / "registry" / "refusals.jsonl").open("ab") as file:
        file.write(b'{"refused_ms": 5, "rea')

    assert [refusal.reason for refusal in registry.refusals()] == ["worse by 0.02"]
    registry.refuse(reason="worse again", metrics={})
    assert [refusal.reason for refusal in registry.refusals()] == ["worse by 0.02", "worse again"]


def test_refusals_are_forced_to_the_disk(tmp_path: Path, disk_steps: Callable[[Path], list[str]]) -> None:
    registry = registry_at(tmp_path)
    for reason in ("worse", "worse again"):
        registry.refuse(reason=reason, metrics={})

    file = "force refusals.jsonl"
    assert disk_steps(tmp_path / "registry") == [file, "force .", file]


def test_a_damaged_refusal_names_its_line(tmp_path: Path) -> None:
    registry = registry_at(tmp_path)
    (tmp_path / "registry" / "refusals.jsonl").write_bytes(b"nonsense\n")

    with pytest.raises(RegistryError, match=r"refusals\.jsonl, line 1 is damaged .* delete that line"):
        registry.refusals()


def test_pruning_never_removes_the_current_or_the_previous_version(tmp_path: Path) -> None:
    registry = registry_at(tmp_path)
    versions = [publish(registry) for _ in range(5)]
    registry.promote(versions[0], by="operator", reason="")
    registry.promote(versions[2], by="operator", reason="")

    assert registry.prune(keep=1) == [versions[1], versions[3]]

    assert registry.versions() == [versions[0], versions[2], versions[4]]
    assert publish(registry).startswith("v000006-")


def test_pruning_counts_and_removes_only_what_cycles_made(tmp_path: Path) -> None:
    registry = registry_at(tmp_path)
    fitted = publish(registry, config={"phase": "pretrain"})
    of_cycles = [publish(registry) for _ in range(3)]
    unreadable = publish(registry)
    (registry.path(unreadable) / "manifest.json").write_bytes(b"{")
    newest = publish(registry, config={"phase": "finetune"})

    assert registry.prune(keep=2) == of_cycles[:1]

    assert registry.versions() == [fitted, *of_cycles[1:], unreadable, newest]


def test_pruning_everything_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keep=0 must be at least 1"):
        registry_at(tmp_path).prune(keep=0)


def test_version_that_is_pruned_while_they_are_listed_is_left_out(tmp_path: Path) -> None:
    class PrunedMeanwhile(Registry):
        def versions(self) -> list[str]:
            listed = super().versions()
            registry_at(tmp_path).prune(keep=2)
            return listed

    registry = PrunedMeanwhile(tmp_path / "registry")
    _, second, third = publish(registry_at(tmp_path)), publish(registry_at(tmp_path)), publish(registry_at(tmp_path))

    assert [manifest.version for manifest in registry.manifests()] == [second, third]


def test_cleaning_removes_half_written_bundles_and_pointers_only(tmp_path: Path) -> None:
    registry = registry_at(tmp_path)
    version = publish(registry)
    registry.promote(version, by="gate", reason="")
    stage = registry.stage()
    (stage / "model.safetensors").write_bytes(b"half")
    os.utime(stage, (0.0, 0.0))
    doomed = tmp_path / "registry" / "stages" / f"deleted-{version}"
    doomed.mkdir()
    (tmp_path / "registry" / ".current.json.0.tmp").write_bytes(b"{")

    assert registry.clean() == [".current.json.0.tmp", stage.name, doomed.name]
    assert registry.current() is not None
    assert registry.open(version).weights.read_bytes() == b"weights"


def test_cleaning_leaves_alone_the_bundle_that_another_process_is_writing(tmp_path: Path) -> None:
    registry = registry_at(tmp_path)
    stage = registry.stage()
    (stage / "model.safetensors").write_bytes(b"more to come")

    assert Registry(tmp_path / "registry").clean() == []
    assert registry.publish(stage, draft()) == registry.versions()[0]


def test_a_held_lock_is_reported_after_the_deadline(tmp_path: Path) -> None:
    registry = registry_at(tmp_path)
    version = publish(registry)

    with (
        file_lock(tmp_path / "registry" / "registry.lock", timeout_s=1),
        pytest.raises(RegistryBusy, match=r"held by another process for 0\.05 s; try again"),
    ):
        registry.promote(version, by="operator", reason="")


def promote_many(root: Path, version: str, n_times: int) -> None:
    registry = Registry(root)
    for i in range(n_times):
        registry.promote(version, by="operator", reason=str(i))
        registry.refuse(reason=version, metrics={})
    os._exit(0)


def test_two_processes_moving_the_pointer_lose_nothing(tmp_path: Path) -> None:
    root = tmp_path / "registry"
    registry = Registry(root)
    first, second = publish(registry), publish(registry)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=promote_many, args=(root, version, 20)) for version in (first, second)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)

    assert [process.exitcode for process in processes] == [0, 0]
    reasons = [refusal.reason for refusal in registry.refusals()]
    assert (reasons.count(first), reasons.count(second)) == (20, 20)
    current = registry.current()
    assert current is not None
    assert {current.version, current.previous} == {first, second}


def test_a_model_is_within_a_position_only_when_every_partition_held_is() -> None:
    assert DataSpan().is_within({})
    assert DataSpan(offsets={0: 9, 1: 3}).is_within({1: 3})
    assert not DataSpan(offsets={0: 1, 1: 3}).is_within({0: 0, 1: 3})
