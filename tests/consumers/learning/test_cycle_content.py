from pathlib import Path

import pytest

from consumers.learning.cycle_content import CycleContent
from consumers.learning.cycle_reports import CycleReports
from tests.consumers.cycle_fixtures import Killed, KilledAfter, Reports, Shop, new_shop, next_plan, run


def test_the_towers_of_the_parent_are_kept(shop: Shop, first: str) -> None:
    ended = run(shop.lenient(), next_plan(shop, first))

    revisions = [shop.registry.manifest(version).tower_revisions for version in (first, ended.version or "")]
    assert revisions[0] == revisions[1]


def test_killed_first_cycle_takes_the_towers_it_had_built(tmp_path: Path) -> None:
    shop = new_shop(tmp_path / "data")
    with pytest.raises(Killed):
        run(shop.settings(), shop.plan(), KilledAfter("pretrain epoch 1"))
    reports = Reports()

    run(shop.settings(), shop.plan(), reports)

    assert not [detail for detail in reports.details if detail.startswith("preparing the content towers")]
    assert list((shop.root / "trainer").iterdir()) == []


def test_long_encoding_says_how_far_it_is(tmp_path: Path) -> None:
    shop, reports = new_shop(tmp_path / "data"), Reports()
    (shop.root / "trainer").mkdir()
    content = CycleContent(shop.settings(), CycleReports(1, reports.append, pulse_s=0.0))
    catalogue = content.catalogue()

    content.table(list(catalogue), catalogue, content.towers(list(catalogue.values()), None))

    counts = [detail for detail in reports.details if " of " in detail]
    assert counts == [
        "items that the new towers worked on: 8 of 8",
        "pieces of new content encoded: 22 of 22",  # texts
        "pieces of new content encoded: 8 of 8",  # pictures
    ]


def test_towers_damaged_by_a_crash_are_built_again(tmp_path: Path) -> None:
    shop = new_shop(tmp_path / "data")
    with pytest.raises(Killed):
        run(shop.settings(), shop.plan(), KilledAfter("pretrain epoch 1"))
    (shop.root / "trainer" / "towers" / "text" / "tower.json").write_bytes(b"")
    reports = Reports()

    ended = run(shop.settings(), shop.plan(), reports)

    assert ended.state == "published"
    assert reports.details[0].startswith("building the towers anew: ")
    assert reports.details[1] == "preparing the content towers for 30 items"
