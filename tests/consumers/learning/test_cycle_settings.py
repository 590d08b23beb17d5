from dataclasses import replace
from pathlib import Path

import pytest

from consumers.learning.cycle_settings import CycleSettings, Folders, read_settings, write_settings
from models.encoder.config import StoppingConfig, TimedShape, TrainingConfig
from models.gate import GateConfig
from models.towers.building import TowerConfig

FOLDERS = Folders(*(Path(name) for name in ("segments", "registry", "features", "images", "work")))
SETTINGS = CycleSettings(folders=FOLDERS, log_id="log-1", sequence_kinds={"click": True, "view": False})


def test_settings_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "not" / "there" / "yet" / "settings.json"
    settings = replace(
        SETTINGS,
        first=TrainingConfig(finetune_epochs=3),
        stopping=StoppingConfig(max_epochs=4),
        shape=TimedShape(dim=16, n_time_buckets=8),
        towers=TowerConfig(text="tfidf"),
        gate=GateConfig(margin=0.2),
        blend=True,
        cycle_s=7.5,
    )

    write_settings(path, settings)

    assert read_settings(path) == settings


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("first_events", 0, "first_events=0 must be at least 1"),
        ("cycle_events", 0, "cycle_events=0 must be at least 1"),
        ("min_cycle_events", 0, "min_cycle_events=0 must be at least 1"),
        ("max_events", 0, "max_events=0 must be at least 1"),
        ("keep_bundles", 0, "keep_bundles=0 must be at least 1"),
        ("first_threads", 0, "first_threads=0 must be at least 1"),
        ("threads", 0, "threads=0 must be at least 1"),
        ("holdout_share", 1.0, r"holdout_share=1\.0 must lie in \[0, 1\)"),
        ("holdout_share", -0.1, r"holdout_share=-0\.1 must lie in \[0, 1\)"),
        ("cycle_s", -1.0, r"cycle_s=-1\.0 must not be negative"),
        ("gate_wait_s", -1.0, r"gate_wait_s=-1\.0 must not be negative"),
        ("replay_ratio", -0.5, r"replay_ratio=-0\.5 must not be negative"),
    ],
)
def test_settings_out_of_range_are_refused_with_value_and_limit(name: str, value: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **{name: value})


def test_file_with_a_wrong_value_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    write_settings(path, SETTINGS)
    path.write_text(path.read_text().replace('"threads": 1', '"threads": "many"'))

    with pytest.raises(ValueError, match=r"settings\.json cannot be used: .*\$\.(first_)?threads"):
        read_settings(path)


def test_file_with_a_value_out_of_range_is_refused_with_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    write_settings(path, SETTINGS)
    path.write_text(path.read_text().replace('"margin": 0.05', '"margin": 5.0'))

    with pytest.raises(ValueError, match=r"settings\.json cannot be used: margin=5\.0 must lie in \[0, 1\)"):
        read_settings(path)
