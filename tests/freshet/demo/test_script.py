from pathlib import Path

import pytest

from freshet.demo.script import data_script, synthetic_script
from freshet.settings import Settings
from stream.kinds import DEFAULT_KINDS, EventKind, EventKinds
from stream.replay.rows import DatasetError


def write_data(folder: Path, n_interactions: int, *, kind: str = "") -> Path:
    folder.mkdir()
    rows = [f"u{n % 50},i{n % 20},{1_600_000_000 + n},{kind}" for n in range(n_interactions)]
    (folder / "interactions.csv").write_text("user_id,item_id,timestamp,kind\n" + "\n".join(rows))
    (folder / "items.csv").write_text("item_id,title\n" + "\n".join(f"i{n},item {n}" for n in range(20)))
    return folder


def test_first_four_fifths_of_real_data_are_the_past(tmp_path: Path) -> None:
    script = data_script(write_data(tmp_path / "shop", 2_000), kinds=DEFAULT_KINDS)

    assert (script.dataset.name, script.past, script.live, script.rate) == ("shop", 1_600, 400, None)
    assert (script.overrides["first_events"], script.overrides["cycle_events"]) == (1_600, 100)


def test_events_of_configured_kinds_are_played(tmp_path: Path) -> None:
    kinds = EventKinds([EventKind("click", True, True), EventKind("buy", True, True)])

    assert data_script(write_data(tmp_path / "shop", 2_000, kind="buy"), kinds=kinds).past == 1_600


def test_somebody_who_waits_for_the_first_model_waits_for_eight_epochs_at_most(tmp_path: Path) -> None:
    scripts = (synthetic_script(), data_script(write_data(tmp_path / "shop", 2_000), kinds=DEFAULT_KINDS))

    assert [script.overrides["first_max_finetune_epochs"] for script in scripts] == [8, 8]


def test_too_little_data_is_refused_with_the_number_needed(tmp_path: Path) -> None:
    folder = write_data(tmp_path / "shop", 999)

    with pytest.raises(DatasetError, match="shop has 999 usable interactions; the demo needs 1000 to learn from"):
        data_script(folder, kinds=DEFAULT_KINDS)


def test_rows_that_are_bad_are_shown_where_too_few_are_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_data(tmp_path / "shop", 2_000, kind="buy")

    with pytest.raises(DatasetError, match="shop has 0 usable interactions"):
        data_script(folder, kinds=DEFAULT_KINDS)

    assert capsys.readouterr().err.startswith("2,000 bad rows: unknown kind 2,000\n")


def test_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere does not exist"):
        data_script(tmp_path / "nowhere", kinds=DEFAULT_KINDS)


def test_past_of_the_shop_starts_the_first_training_and_a_run_several_cycles() -> None:
    script = synthetic_script()

    assert script.past >= Settings.model_fields["first_events"].default
    assert script.live >= 3 * script.overrides["cycle_events"]


def test_overrides_are_settings() -> None:
    assert synthetic_script().overrides.keys() <= Settings.model_fields.keys()
