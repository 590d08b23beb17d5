"""A shop that was trained once, for every test again."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from models.encoder.config import TrainingConfig
from tests.consumers.cycle_fixtures import Shop, new_shop, run


@pytest.fixture(scope="session")
def trained_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop after its first training, long enough to have learned the walk."""
    root = tmp_path_factory.mktemp("shop") / "data"
    shop = new_shop(root)
    long = TrainingConfig(pretrain_epochs=1, finetune_epochs=30, batch_size=16, finetune_lr=1e-2)
    run(replace(shop.settings(), first=long), shop.plan(n_fresh=300))
    return root


@pytest.fixture
def shop(trained_root: Path, tmp_path: Path) -> Shop:
    """The trained shop again, with 100 events the model has not seen and 60 to judge by."""
    shutil.copytree(trained_root, tmp_path / "data")
    later = Shop(tmp_path / "data")
    later.add_events(100)
    return later


@pytest.fixture
def first(shop: Shop) -> str:
    return shop.registry.versions()[0]
