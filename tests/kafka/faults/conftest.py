from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from broker.cluster import Cluster

if TYPE_CHECKING:
    from tests.kafka.faults.site import Site


@pytest.fixture
def site(broker: Cluster, tmp_path: Path) -> Iterator[Site]:
    """A site on the session's broker."""
    from tests.kafka.faults.site import Site  # noqa: PLC0415 - kafka-python warns on import before pytest may ignore it

    with Site(broker, tmp_path) as made:
        yield made
