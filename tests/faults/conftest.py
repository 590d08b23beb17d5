import shutil
from pathlib import Path

import pytest

from tests.faults.process import ServiceProcess
from tests.faults.traffic import event, put_catalogue

N_EVENTS = 400


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that a service left with a catalogue, N_EVENTS events and one model; not to be changed."""
    data_dir = tmp_path_factory.mktemp("trained") / "data"
    with ServiceProcess(data_dir, {"CYCLE_EVENTS": "100000", "CYCLE_S": "100000"}) as service:
        put_catalogue(service)
        assert service.send(*(event(number) for number in range(N_EVENTS))).status_code == 202
        service.wait_for_model()
        assert service.stop() == 0
    return data_dir


@pytest.fixture
def data_dir(trained: Path, tmp_path: Path) -> Path:
    """A copy of `trained`, to be damaged."""
    return shutil.copytree(trained, tmp_path / "data")
