import json
import os
import socket
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from freshet.cli import _expected, main
from freshet.client import ApiError
from models.registry.registry import Registry
from stream.dead_letters import DeadLetters
from stream.embedded.log import EmbeddedLog
from stream.log import Message, Record
from stream.topics import topics
from tests.models.encoder_fixtures import small_model
from tests.models.ranker_fixtures import publish

Ran = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ran:
    """Runs the command in an empty folder; gives status, output and errors."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("FRESHET_")]:
        monkeypatch.delenv(name)

    def run_it(*arguments: str) -> tuple[int, str, str]:
        status = main(arguments)
        said = capsys.readouterr()
        return status, said.out, said.err

    return run_it


def test_config_prints_every_value_with_its_source(run: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("freshet.toml").write_text("seed = 7\n")
    monkeypatch.setenv("FRESHET_PORT", "9000")

    status, out, _ = run("config")

    assert status == 0
    assert "# Port to listen on; 0 takes a free one.\nport = 9000    # from environment\n" in out
    assert "seed = 7    # from freshet.toml\n" in out
    assert "partitions = 4    # from default\n" in out


def test_config_in_json_has_value_and_source_of_every_setting(run: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHET_PORT", "9000")

    status, out, _ = run("config", "--json")

    rows = json.loads(out)
    assert status == 0
    assert rows["port"] == {"value": 9000, "source": "environment"}
    assert rows["log_max_mb"] == {"value": None, "source": "default"}
    assert rows["kinds"]["value"][0] == {"name": "view", "enters_sequence": True, "is_target": True}


def test_what_config_prints_can_be_kept_as_the_settings_file(run: Ran) -> None:
    Path("freshet.toml").write_text('seed = 7\n[[kinds]]\nname = "listen \\"loud\\""\n')
    _, out, _ = run("config")

    Path("freshet.toml").write_text(out)
    values = tomllib.loads(out)
    status, again, _ = run("config")

    assert (values["seed"], values["kinds"][0]["name"]) == (7, 'listen "loud"')
    assert status == 0
    assert again.replace("from freshet.toml", "from default") == out.replace("from freshet.toml", "from default")


def test_setting_that_cannot_be_used_is_one_line_on_standard_error(run: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHET_PORT", "ssh")

    status, out, err = run("config")

    assert (status, out) == (1, "")
    assert err.startswith("freshet: port='ssh' (environment): Input should be a valid integer")
    assert err.count("\n") == 1


def test_what_the_api_refuses_is_no_bug_of_the_command() -> None:
    assert issubclass(ApiError, _expected())


def test_wrong_call_is_status_two(run: Ran) -> None:
    with pytest.raises(SystemExit) as caught:
        run("fly")

    assert caught.value.code == 2


@pytest.mark.parametrize("command", [["models", "list"], ["dead-letters", "list"]])
def test_data_folder_that_is_not_there_is_said_so_and_not_made(run: Ran, command: list[str]) -> None:
    status, _, err = run(*command, "--data-dir", "nowhere")

    assert status == 1
    assert err.endswith("nowhere; name the service's with --data-dir\n")
    assert not Path("nowhere").exists()


@pytest.mark.parametrize(("command", "lacks"), [("models", "registry"), ("dead-letters", "log.sqlite")])
def test_folder_that_no_service_has_filled_is_left_as_it_is(run: Ran, command: str, lacks: str) -> None:
    Path("data").mkdir()

    status, _, err = run(command, "list", "--data-dir", "data")

    assert status == 1
    assert err == f"freshet: there is no {lacks} in {Path('data').resolve()}; name the service's with --data-dir\n"
    assert not list(Path("data").iterdir())


def test_role_without_a_name_is_refused_and_not_read_as_all(run: Ran) -> None:
    status, _, err = run("serve", "--roles", "", "--data-dir", "data", "--port", "70000")

    assert status == 1
    assert "roles.0='' (argument): Input should be 'feeds', 'learning' or 'watching'\n" in err


def two_models() -> tuple[str, str]:
    registry = Registry(Path("data/registry"))
    first, second = (publish(registry, small_model(seed=seed), ()) for seed in (1, 2))
    for version in (first, second):
        registry.promote(version, by="operator", reason="better")
    return first, second


def test_models_are_listed_with_the_current_one_marked(run: Ran) -> None:
    first, second = two_models()

    status, out, _ = run("models", "list", "--data-dir", "data")

    assert (status, out) == (0, f"  {first}  parent -  \n* {second}  parent -  \n")


def test_the_newest_five_refused_cycles_stand_below_the_versions(run: Ran) -> None:
    first, _ = two_models()
    registry = Registry(Path("data/registry"), now_ms=lambda: 1_700_000_000_000)
    registry.refuse(reason="too long ago", metrics={})
    for number in range(5):
        registry.refuse(reason=f"lost {number}%", metrics={}, parent=first if number else None)

    lines = run("models", "list", "--data-dir", "data")[1].splitlines()

    assert lines[2] == "refused 2023-11-14 22:13 UTC  parent -  lost 0%"
    assert lines[3:] == [f"refused 2023-11-14 22:13 UTC  parent {first}  lost {number}%" for number in range(1, 5)]


def test_damaged_refusal_is_one_line_below_the_versions(run: Ran) -> None:
    _, second = two_models()
    Path("data/registry/refusals.jsonl").write_text("{\n")

    status, out, err = run("models", "list", "--data-dir", "data")

    assert (status, err) == (0, "")
    assert f"* {second}" in out
    assert "refusals.jsonl, line 1 is damaged" in out.splitlines()[2]


def test_before_the_first_model_the_list_says_so(run: Ran) -> None:
    Registry(Path("data/registry"))

    status, out, _ = run("models", "list", "--data-dir", "data")

    assert (status, out) == (0, "no model yet; the first is trained once there are enough events\n")


def test_rollback_pauses_promotion_and_promoting_by_hand_resumes_it(run: Ran) -> None:
    first, second = two_models()

    _, rolled_back, _ = run("models", "rollback", "--data-dir", "data", "--reason", "lamps")
    _, promoted, _ = run("models", "promote", second, "--data-dir", "data")

    assert f"* {first}" in rolled_back
    assert rolled_back.endswith("automatic promotion is paused; promoting a version by hand resumes it\n")
    assert f"* {second}" in promoted
    assert "paused" not in promoted


def test_promoting_nothing_or_an_unknown_version_is_one_clear_line(run: Ran) -> None:
    first, second = two_models()

    assert run("models", "promote", "--data-dir", "data")[::2] == (
        1,
        "freshet: promote which version? `freshet models list` shows them\n",
    )
    assert run("models", "promote", "v9", "--data-dir", "data")[::2] == (
        1,
        f"freshet: no model version 'v9'; the newest published: {first}, {second}\n",
    )


def test_damaged_version_is_marked_among_the_others_and_promoting_another_succeeds(run: Ran) -> None:
    first, second = two_models()
    Path(f"data/registry/bundles/{first}/manifest.json").write_text("{")

    status, out, err = run("models", "promote", second, "--data-dir", "data")

    assert (status, err) == (0, "")
    damaged, whole = out.splitlines()
    assert damaged.startswith(f"  {first}  model bundle {Path('data').resolve()}")
    assert " is damaged: manifest.json: " in damaged
    assert whole == f"* {second}  parent -  "


@pytest.mark.parametrize("action", ["list", "rollback"])
def test_version_where_none_is_taken_is_refused_and_nothing_moves(run: Ran, action: str) -> None:
    first, second = two_models()

    status, out, err = run("models", action, first, "--data-dir", "data")

    assert (status, out) == (1, "")
    assert err == f"freshet: {action} takes no version; `freshet models promote VERSION` makes one current\n"
    assert f"* {second}" in run("models", "list", "--data-dir", "data")[1]


def test_damaged_pointer_is_one_line_that_says_what_to_do(run: Ran) -> None:
    two_models()
    Path("data/registry/current.json").write_text("{")

    status, _, err = run("models", "list", "--data-dir", "data")

    assert status == 1
    assert "choose a version with `freshet models promote VERSION`" in err
    assert err.count("\n") == 1


def reject_one() -> None:
    Path("data").mkdir()
    log = EmbeddedLog(Path("data/log.sqlite"), topics(4))
    reader = log.reader("events", partitions=[0, 1, 2, 3])
    log.publish("events", [Message(b"ann", b"not an event")]).result(10.0)
    letters = DeadLetters(log)
    letters.send(reader.poll(max_records=1, timeout_s=10.0)[0], reason="event rejected: not JSON")
    letters.flush(10.0)
    reader.close()
    log.close()


def test_dead_letters_are_listed_with_where_they_came_from_and_why(run: Ran) -> None:
    reject_one()

    status, out, _ = run("dead-letters", "list", "--data-dir", "data")

    assert status == 0
    assert out.startswith("0: events[")
    assert out.endswith("] offset 0: event rejected: not JSON | b'not an event'\n")


def test_dead_letters_are_sent_again_to_where_they_came_from(run: Ran) -> None:
    reject_one()

    status, _, _ = run("dead-letters", "replay", "--data-dir", "data")

    log = EmbeddedLog(Path("data/log.sqlite"), topics(4))
    ends = log.ends("events")
    log.close()
    assert status == 0
    assert sum(ends.values()) == 2


def test_dead_letters_sent_again_are_not_sent_a_second_time(run: Ran) -> None:
    reject_one()
    run("dead-letters", "replay", "--data-dir", "data")

    _, out, _ = run("dead-letters", "replay", "--data-dir", "data")

    log = EmbeddedLog(Path("data/log.sqlite"), topics(4))
    ends = log.ends("events")
    log.close()
    assert out == "sent 0 dead letters to where they came from\n"
    assert sum(ends.values()) == 2


def test_one_dead_letter_that_cannot_be_sent_does_not_keep_the_others_back(run: Ran) -> None:
    reject_one()
    log = EmbeddedLog(Path("data/log.sqlite"), topics(4))
    letters = DeadLetters(log)
    letters.send(Record("events", 3, 9, b"ann", b"x" * 70_000, 0), reason="event rejected: too large")
    letters.flush(10.0)
    log.close()

    status, out, _ = run("dead-letters", "replay", "--data-dir", "data")

    assert status == 0
    assert out == (
        "left out events[3] offset 9: message of 70003 bytes for topic 'events'; the limit is 65536: send less\n"
        "sent 1 dead letters to where they came from\n"
    )
    assert run("dead-letters", "replay", "--data-dir", "data")[1] == "sent 0 dead letters to where they came from\n"


def test_log_that_a_service_owns_is_left_alone(run: Ran) -> None:
    reject_one()
    log = EmbeddedLog(Path("data/log.sqlite"), topics(4))

    status, _, err = run("dead-letters", "list", "--data-dir", "data")

    log.close()
    assert status == 1
    assert str(os.getpid()) in err
    assert err.count("\n") == 1


def test_serve_on_a_taken_port_ends_with_one_clear_line(run: Ran) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        status, out, err = run("serve", "--data-dir", "data", "--port", port)

    assert (status, out) == (1, "")
    assert err.startswith(f"freshet: cannot listen on 127.0.0.1:{port}: ")
    assert "--port N or FRESHET_PORT" in err


def test_serve_with_another_number_of_partitions_ends_with_one_clear_line(
    run: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    reject_one()
    monkeypatch.setenv("FRESHET_PARTITIONS", "8")

    status, _, err = run("serve", "--data-dir", "data", "--port", "0")

    assert status == 1
    assert "has 4 partitions in" in err
    assert err.count("\n") == 1


def test_segments_of_another_log_end_with_one_clear_line(run: Ran) -> None:
    reject_one()
    Path("data/segments").mkdir()
    Path("data/segments/manifest.json").write_text('{"log_id": "another"}')

    status, _, err = run("serve", "--data-dir", "data", "--port", "0")

    assert status == 1
    assert "belongs to log 'another'" in err
    assert err.count("\n") == 1


def test_replay_of_nothing_is_one_clear_line(run: Ran) -> None:
    status, _, err = run("replay", "nowhere")

    assert (status, err) == (1, "freshet: data folder nowhere does not exist\n")


def test_kind_of_a_data_set_that_is_not_configured_is_one_clear_line(
    run: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRESHET_KINDS", '[{"name":"buy"}]')
    (tmp_path / "ratings.dat").touch()
    (tmp_path / "movies.dat").touch()

    status, _, err = run("replay", str(tmp_path))

    assert (status, err) == (1, "freshet: kind 'like' is not known; known are buy\n")
