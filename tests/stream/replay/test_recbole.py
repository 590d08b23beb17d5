from pathlib import Path

import pytest

from stream.replay.dataset import DatasetError, open_dataset

INTER = """\
user_id:token\titem_id:token\trating:float\ttimestamp:float
1\ta\t4\t978300760
2\ta\t1\t978300700.0
2\tb\t1
\tb\t1\t978300700
2\t\t1\t978300700
3\tb\t1\tnever

3\tc\t5\t978300800
"""
ITEM = """\
item_id:token\tmovie_title:token_seq\trelease_year:token\tgenre:token_seq\tscore:float
a\tHeat\t1995\tAction Crime\t7.5
b\tQuiet\t\tDrama\t
a\tHeat again\t1995\tAction\t1
\tNobody\t1990\tDrama\t1
c\tshort
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "rb"
    folder.mkdir()
    (folder / "rb.inter").write_text(INTER)
    (folder / "rb.item").write_text(ITEM)
    return folder


def test_interactions_of_unknown_scale_become_rates_in_the_order_of_time(root: Path) -> None:
    events = list(open_dataset(root).interactions())

    assert [(event.event_id, event.user_id, event.item_id, event.kind, event.ts_ms) for event in events] == [
        ("rb-3", "2", "a", "rate", 978_300_700_000),
        ("rb-2", "1", "a", "rate", 978_300_760_000),
        ("rb-9", "3", "c", "rate", 978_300_800_000),
    ]


def test_interactions_without_rating_become_clicks(root: Path) -> None:
    (root / "rb.inter").write_text("item_id:token\ttimestamp:float\tuser_id:token\na\t5\t1\n")
    assert [(event.user_id, event.kind) for event in open_dataset(root).interactions()] == [("1", "click")]


def test_items_take_title_and_tokens(root: Path) -> None:
    rows = list(open_dataset(root).items())

    assert [(row.item.item_id, row.item.title, row.item.text) for row in rows] == [
        ("a", "Heat", "Release year: 1995. Genre: Action Crime."),
        ("b", "Quiet", "Genre: Drama."),
    ]
    assert rows[0].item.attributes == {"release_year": "1995", "genre": "Action Crime", "score": "7.5"}
    assert rows[1].item.attributes == {"genre": "Drama"}


def test_a_description_is_the_text_where_there_is_one(root: Path) -> None:
    (root / "rb.item").write_text("item_id:token\tname:token_seq\tdescription:token_seq\na\tHeat\tA thief plans.\n")
    assert [(row.item.title, row.item.text) for row in open_dataset(root).items()] == [("Heat", "A thief plans.")]


def test_every_bad_row_is_reported_with_its_line(root: Path) -> None:
    dataset = open_dataset(root)
    list(dataset.interactions())
    list(dataset.items())

    assert [str(row) for row in dataset.bad_rows.first] == [
        "rb.inter:4: wrong column count: 3 columns, the header has 4",
        "rb.inter:5: empty id: user_id is ''",
        "rb.inter:6: empty id: item_id is ''",
        "rb.inter:7: bad timestamp: 'never'; give seconds since 1970 or ISO 8601",
        "rb.item:4: duplicate item: item_id 'a' is already in line 2; the first one counts",
        "rb.item:5: empty id: item_id is ''",
        "rb.item:6: wrong column count: 2 columns, the header has 5",
    ]


def test_non_utf8_bytes_make_only_their_row_bad(root: Path) -> None:
    (root / "rb.item").write_bytes(b"item_id:token\tname:token_seq\na\tcaf\xe9\nb\tok\n")
    dataset = open_dataset(root)

    assert [row.item.item_id for row in dataset.items()] == ["b"]
    assert dataset.bad_rows.by_problem == {"not UTF-8": 1}


def test_a_header_without_types_is_one_clear_error(root: Path) -> None:
    (root / "rb.inter").write_text("user_id,item_id,timestamp\n1,2,3\n")
    with pytest.raises(DatasetError, match=r"must hold name:type separated by tabs"):
        list(open_dataset(root).interactions())


def test_a_missing_timestamp_is_one_clear_error(root: Path) -> None:
    (root / "rb.inter").write_text("user_id:token\titem_id:token\n1\t2\n")
    with pytest.raises(DatasetError, match=r"has no field timestamp; its fields are user_id, item_id"):
        list(open_dataset(root).interactions())
