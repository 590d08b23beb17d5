from pathlib import Path

import pytest

from freshet.settings import Settings
from freshet.training import cycle_settings


def test_the_epochs_of_a_first_training_are_those_of_the_settings(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path, first_pretrain_epochs=1, first_finetune_epochs=3, first_max_finetune_epochs=12
    )

    told = cycle_settings(settings, log_id="log-1")

    assert (told.first.pretrain_epochs, told.first.finetune_epochs, told.stopping.max_epochs) == (1, 3, 12)


@pytest.mark.parametrize(("time_buckets", "n_buckets"), [(True, 32), (False, None)])
def test_a_first_model_sees_the_sequences_that_are_kept_and_times_where_they_are_wanted(
    tmp_path: Path, time_buckets: bool, n_buckets: int | None
) -> None:
    settings = Settings(data_dir=tmp_path, sequence_length=20, time_buckets=time_buckets)

    shape = cycle_settings(settings, log_id="log-1").shape

    assert (shape.window, shape.n_time_buckets) == (20, n_buckets)


@pytest.mark.parametrize("blend", [True, False])
def test_a_trainer_learns_weights_of_the_blend_only_where_feeds_are_blended(tmp_path: Path, blend: bool) -> None:
    assert cycle_settings(Settings(data_dir=tmp_path, blend=blend), log_id="log-1").blend is blend
