from consumers.catalog.catalog import Catalog
from serving.popular import Newcomers
from stream.events import ItemUpsert


def test_newcomers_are_the_twenty_newest_and_looked_up_once_a_second() -> None:
    now_s = 0.0
    catalog = Catalog()
    for n in range(25):
        catalog.apply(ItemUpsert(item_id=f"item-{n}", ts_ms=n))
    newcomers = Newcomers(catalog, clock=lambda: now_s)

    first = newcomers.ids()
    catalog.apply(ItemUpsert(item_id="late", ts_ms=99))

    assert first == [f"item-{n}" for n in range(24, 4, -1)]
    assert newcomers.ids() == first
    now_s = 1.0
    assert newcomers.ids() == ["late", *first[:19]]
