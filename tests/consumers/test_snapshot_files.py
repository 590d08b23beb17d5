from pathlib import Path

from structlog.testing import capture_logs

from consumers.snapshot_files import KEPT_ASIDE, set_aside


def set_aside_each(path: Path, contents: list[str]) -> None:
    for content in contents:
        path.write_text(content)
        set_aside(path, ValueError("cut short"))


def test_a_file_that_was_set_aside_before_stays(tmp_path: Path) -> None:
    path = tmp_path / "events-0.snapshot"
    with capture_logs() as logs:
        set_aside_each(path, ["long", "short"])

    kept = {path.with_name("events-0.snapshot.damaged"): "long", path.with_name("events-0.snapshot.damaged.2"): "short"}
    assert {file: file.read_text() for file in tmp_path.iterdir()} == kept
    assert [line["file"] for line in logs] == [str(file) for file in kept]


def test_the_newest_are_kept(tmp_path: Path) -> None:
    contents = [str(n) for n in range(KEPT_ASIDE + 3)]
    set_aside_each(tmp_path / "memory.npz", contents)
    set_aside_each(tmp_path / "another", ["other"])

    assert sorted(file.read_text() for file in tmp_path.glob("memory*")) == contents[3:]


def test_a_file_that_another_process_set_aside_is_passed_over(tmp_path: Path) -> None:
    set_aside(tmp_path / "memory.npz", ValueError("cut short"))

    assert list(tmp_path.iterdir()) == []
