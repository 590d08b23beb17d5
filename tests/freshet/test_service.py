"""The service's own word on whether it is ready."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.sequences.role import Snapshots
from consumers.sequences.snapshots import KindsDiffer
from freshet.service import Service
from freshet.settings import Kind, Settings
from tests.waiting import wait_until


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(Settings(data_dir=tmp_path))
    yield service
    service.close()


def test_service_is_not_ready_before_its_roles_have_looked_at_the_log_and_the_model(service: Service) -> None:
    assert service.not_ready() == {
        "sequences": "starting",
        "catalog": "starting",
        "model": "the current version is being loaded",
    }
    service.start()
    wait_until(lambda: not service.not_ready())


def test_snapshots_are_of_the_kinds_that_are_configured(tmp_path: Path) -> None:
    service = Service(Settings(data_dir=tmp_path, kinds=[Kind(name="poke")]))
    service.start()
    wait_until(lambda: not service.not_ready())
    service.close()
    with pytest.raises(KindsDiffer, match=r"is of the event kinds \['poke'\], and \['view', "):
        Snapshots(service.paths.snapshots, service.log.log_id)
