from pathlib import Path

import pytest

from freshet.evaluation.command import EvaluateOptions
from tests.freshet.evaluation.small_shop import write_shop


@pytest.fixture
def options(tmp_path: Path) -> EvaluateOptions:
    return EvaluateOptions(
        data=str(write_shop(tmp_path / "shop")),
        models=("cooccurrence", "popularity"),
        runs=tmp_path / "runs",
        json=tmp_path / "figures.json",
    )
