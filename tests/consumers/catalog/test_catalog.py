from consumers.catalog.catalog import Catalog, CatalogItem
from stream.events import ItemRemoval, ItemUpsert


def upsert(item_id: str, ts_ms: int, title: str = "t") -> ItemUpsert:
    return ItemUpsert(item_id=item_id, ts_ms=ts_ms, title=title)


def test_upsert_is_found_with_all_it_says() -> None:
    catalog = Catalog()

    changed = catalog.apply(
        ItemUpsert(
            item_id="a",
            ts_ms=5,
            title="Red shoe",
            text="Runs. Fast.",
            image="1.png",
            attributes={"brand": "x"},
            text_vector=b"12",
            image_vector=b"34",
        )
    )

    assert changed
    assert catalog.get("a") == CatalogItem("a", 5, "Red shoe", "Runs. Fast.", "1.png", {"brand": "x"}, b"12", b"34")
    assert "a" in catalog
    assert catalog.get("b") is None
    assert (catalog.n_items, catalog.newest_ts_ms) == (1, 5)


def test_content_is_title_then_sentences() -> None:
    content = CatalogItem("a", 5, "Red shoe", "It runs. Fast.", "1.png").content

    assert content.sentences == ("Red shoe", "It runs.", "Fast.")
    assert content.image == "1.png"


def test_a_duplicate_changes_nothing() -> None:
    catalog = Catalog()
    catalog.apply(upsert("a", 5, "new"))
    version = catalog.changed_since(0).version

    assert not catalog.apply(upsert("a", 5, "new"))

    assert catalog.items() == [CatalogItem("a", 5, "new")]
    assert catalog.changed_since(0).version == version


def test_of_two_upserts_the_later_on_the_log_counts_whatever_their_times() -> None:
    catalog = Catalog()
    catalog.apply(upsert("a", 5, "first"))

    assert catalog.apply(upsert("a", 4, "second"))
    assert catalog.items() == [CatalogItem("a", 4, "second")]
    assert catalog.newest_ts_ms == 5


def test_removed_items_can_be_added_again() -> None:
    catalog = Catalog()
    catalog.apply(upsert("a", 5))

    assert catalog.apply(ItemRemoval(item_id="a", ts_ms=4))
    assert "a" not in catalog
    assert catalog.n_items == 0
    assert not catalog.apply(ItemRemoval(item_id="a", ts_ms=8))
    assert catalog.n_items == 0

    assert catalog.apply(upsert("a", 6))
    assert catalog.n_items == 1


def test_removal_of_an_unknown_item_changes_nothing() -> None:
    catalog = Catalog()

    assert not catalog.apply(ItemRemoval(item_id="a", ts_ms=4))
    assert catalog.changed_since(0) == ([], [], 0)


def test_changes_since_a_version_are_what_happened_after_it() -> None:
    catalog = Catalog()
    catalog.apply(upsert("a", 1))
    catalog.apply(upsert("b", 1))
    version = catalog.changed_since(0).version
    catalog.apply(upsert("c", 1))
    catalog.apply(upsert("a", 2))
    catalog.apply(ItemRemoval(item_id="b", ts_ms=2))

    changes = catalog.changed_since(version)

    assert changes.upserted == [CatalogItem("a", 2, "t"), CatalogItem("c", 1, "t")]
    assert changes.removed == ["b"]
    assert catalog.changed_since(changes.version) == ([], [], changes.version)


def test_newest_items_come_first() -> None:
    catalog = Catalog()
    for item_id, ts_ms in (("a", 3), ("b", 9), ("c", 6)):
        catalog.apply(upsert(item_id, ts_ms))

    assert catalog.newest(2) == ["b", "c"]
    assert Catalog().newest(2) == []
