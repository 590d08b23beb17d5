import re
from pathlib import Path

import pytest

from freshet.demo.run import MARKER, DemoOptions, _own_log, _prepare_folder, run_demo
from freshet.demo.story import DemoFailed
from freshet.settings import InForce, Settings, load_settings
from models.durable import file_lock
from stream.embedded.log import EmbeddedLog
from stream.topics import topics


def test_starting_over_deletes_what_an_earlier_demo_kept_and_gives_a_new_name(tmp_path: Path) -> None:
    name = _prepare_folder(tmp_path, is_fresh=False)
    (tmp_path / "registry" / "v1").mkdir(parents=True)
    (tmp_path / "demo.json").touch()

    assert _prepare_folder(tmp_path, is_fresh=False) == name
    assert (tmp_path / "demo.json").exists()
    assert _prepare_folder(tmp_path, is_fresh=True) != name
    assert {path.name for path in tmp_path.iterdir()} == {MARKER, "log.sqlite.lock", "learning.lock"}


def test_starting_over_leaves_the_folder_of_a_running_service_alone(tmp_path: Path) -> None:
    _prepare_folder(tmp_path, is_fresh=False)
    log = EmbeddedLog(tmp_path / "log.sqlite", topics(1))

    with pytest.raises(DemoFailed, match=re.escape(f"{tmp_path} is in use; stop what runs there, or name another")):
        _prepare_folder(tmp_path, is_fresh=True)

    log.close()
    assert (tmp_path / "log.sqlite").exists()


def test_starting_over_leaves_the_folder_of_who_learns_from_kafka_alone(tmp_path: Path) -> None:
    _prepare_folder(tmp_path, is_fresh=False)
    (tmp_path / "registry").mkdir()

    with file_lock(tmp_path / "learning.lock", timeout_s=0.0), pytest.raises(DemoFailed, match="is in use"):
        _prepare_folder(tmp_path, is_fresh=True)

    assert (tmp_path / "registry").exists()


def test_folder_that_no_demo_made_is_never_deleted(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()

    with pytest.raises(DemoFailed, match="was not made by the demo; name another folder with --data-dir"):
        _prepare_folder(tmp_path, is_fresh=True)

    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.parametrize(
    ("log", "source", "own"),
    [
        ("embedded", "default", "embedded"),
        ("kafka://a:1,b:2", "argument", "kafka://a:1,b:2/demo-1."),
        ("kafka://a:1/", "argument", "kafka://a:1/demo-1."),
        ("kafka://a:1/mine.", "argument", "kafka://a:1/mine."),
        ("kafka://a:1/shop.", "environment", "kafka://a:1/demo-1."),
        ("kafka://a:1/shop.", "freshet.toml", "kafka://a:1/demo-1."),
    ],
)
def test_demo_writes_under_a_prefix_of_its_own_unless_one_is_given_with_the_command(
    log: str, source: str, own: str
) -> None:
    assert _own_log(InForce(Settings(log=log), {"log": source}), "demo-1") == own


def test_summary_that_could_not_be_written_is_refused_at_once(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"

    with pytest.raises(DemoFailed, match=re.escape(f"--summary {nowhere}/s.json: there is no folder {nowhere}")):
        run_demo(load_settings({"data_dir": tmp_path / "data"}), DemoOptions(summary=nowhere / "s.json"))
