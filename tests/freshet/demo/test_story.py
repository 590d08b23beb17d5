import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from freshet.client import Client
from freshet.demo import story
from freshet.demo.probe import FreshnessProbe
from freshet.demo.script import Script
from freshet.demo.story import Demo, DemoFailed, _Interrupted
from freshet.demo.tape import Tape
from freshet.settings import Settings
from stream.log import LogClosed
from stream.replay.synthetic import SyntheticConfig, SyntheticDataset


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """A demo whose service is not started: nobody reads what is played."""
    dataset = SyntheticDataset(SyntheticConfig(n_interactions=4_000))
    demo = Demo(Settings(data_dir=tmp_path), Script(dataset, past=500, live=2_000, rate=None, overrides={}))
    yield demo
    demo.service.close()


def watch(demo: Demo) -> None:
    """Play the live part to its end, then watch it."""
    player = threading.Thread(target=demo._play_live)
    player.start()
    player.join()
    with Client("http://127.0.0.1:1") as client:
        demo._watch(player, FreshnessProbe(client, "ann"))


def test_a_watcher_that_does_not_follow_ends_the_demo(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "MAX_LAG", 100)
    monkeypatch.setattr(story, "DRAIN_TIMEOUT_S", 0.0)

    with pytest.raises(DemoFailed, match=r"after 0 s [\d,]+ events were still to be predicted"):
        watch(demo)


def test_what_ends_the_player_ends_the_demo(demo: Demo) -> None:
    demo.service.log.close()

    with pytest.raises(LogClosed):
        watch(demo)


def test_ctrl_c_ends_the_past_where_it_is_and_the_place_is_kept(demo: Demo) -> None:
    demo._interrupt()

    with pytest.raises(_Interrupted):
        demo._play_the_past()

    place = demo.tape.place
    assert place < 500
    assert Tape(demo.script.dataset, demo.settings.data_dir).place == place
