from pathlib import Path

from freshet.settings import Settings
from freshet.training import cycle_settings


def test_the_epochs_of_a_first_training_are_those_of_the_settings(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path, first_pretrain_epochs=1, first_finetune_epochs=3, first_max_finetune_epochs=12
    )

    told = cycle_settings(settings, log_id="log-1")

    assert (told.first.pretrain_epochs, told.first.finetune_epochs, told.stopping.max_epochs) == (1, 3, 12)
