import json
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream.kinds import EventKind, EventKinds
from stream.replay.dataset import BadRowError, Dataset, DatasetError, open_dataset

INTERACTIONS = """\
user_id,item_id,timestamp,kind
ann,mug,1000,click
ann,pot,2001-01-01T00:00:00,like
bob,mug,2001-01-01T00:00:00+01:00,
,mug,1000,click
bob,,1000,click
bob,mug,soon,click
bob,mug,1000,stare

bob,mug,1000
"bob,x
"cy",unknown,0.5,view
"""
ITEMS = """\
item_id,title,text,image,price,colour
mug,Mug,"A mug, blue.",mug.jpg,12,blue
pot,Pot,,,,
mug,Mug again,,,,
,No id,,,,
cup,Cup,Missing picture,cup.jpg,,
spy,Spy,Escape,../secret.jpg,,
too,Many,columns,,,,,,
"""


def write(root: Path, **files: str | bytes) -> Path:
    for name, content in files.items():
        path = root / name.replace("_csv", ".csv").replace("_jsonl", ".jsonl")
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    (root / "images").mkdir(exist_ok=True)
    (root / "images" / "mug.jpg").write_bytes(b"jpeg")
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "my shop"
    folder.mkdir()
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    return write(folder, interactions_csv=INTERACTIONS, items_csv=ITEMS)


def reasons(dataset: Dataset) -> list[str]:
    return [str(row) for row in dataset.bad_rows.first]


def test_interactions_are_read_in_seconds_and_iso(root: Path) -> None:
    events = list(open_dataset(root).interactions())

    assert [(event.event_id, event.user_id, event.item_id, event.ts_ms, event.kind) for event in events] == [
        ("my-shop-2", "ann", "mug", 1_000_000, "click"),
        ("my-shop-4", "bob", "mug", 978_303_600_000, "click"),
        ("my-shop-3", "ann", "pot", 978_307_200_000, "like"),
    ]


def test_every_bad_interaction_is_reported_with_its_line(root: Path) -> None:
    dataset = open_dataset(root)
    list(dataset.interactions())
    list(dataset.interactions())  # counted once

    assert reasons(dataset) == [
        "interactions.csv:5: empty id: user_id is ''",
        "interactions.csv:6: empty id: item_id is ''",
        "interactions.csv:7: bad timestamp: 'soon'; give seconds since 1970 or ISO 8601",
        "interactions.csv:8: unknown kind: 'stare'; known are view, click, like, play, purchase, rate, dislike",
        "interactions.csv:10: wrong column count: 3 columns, the header has 4",
        "interactions.csv:11: bad CSV: ',' expected after '\"'; lines 11 to 12 were read as one row; check the quotes",
    ]


def test_interactions_with_unknown_items_are_kept(root: Path) -> None:
    (root / "interactions.csv").write_text("user_id,item_id,timestamp\nann,not-yet-there,5\n")
    dataset = open_dataset(root)

    assert [event.item_id for event in dataset.interactions()] == ["not-yet-there"]
    assert dataset.bad_rows.total == 0


def test_items_are_read_with_attributes_and_picture(root: Path) -> None:
    rows = list(open_dataset(root).items())

    assert [row.item.item_id for row in rows] == ["mug", "pot", "cup", "spy"]
    assert rows[0].item.title == "Mug"
    assert rows[0].item.text == "A mug, blue."
    assert rows[0].item.attributes == {"price": "12", "colour": "blue"}
    assert rows[0].image == root / "images" / "mug.jpg"
    assert [row.image for row in rows[1:]] == [None, None, None]
    assert [row.is_timed for row in rows] == [False] * 4


def test_every_bad_item_is_reported_with_its_line(root: Path) -> None:
    dataset = open_dataset(root)
    list(dataset.items())

    assert reasons(dataset) == [
        "items.csv:4: duplicate item: item_id 'mug' is already in line 2; the first one counts",
        "items.csv:5: empty id: item_id is ''",
        "items.csv:6: image not found: images/cup.jpg is no file; the item goes without picture",
        "items.csv:7: bad image path: '../secret.jpg' leads out of images/; the item goes without picture",
        "items.csv:8: wrong column count: 9 columns, the header has 6",
    ]
    assert dataset.bad_rows.by_problem["image not found"] == 1


@pytest.mark.parametrize("name", ["/etc/hostname", "a\x00b", "x" * 5_000, "../../etc/passwd", "."])
def test_no_picture_outside_images_is_ever_read(root: Path, name: str) -> None:
    (root / "items.csv").unlink()
    (root / "items.jsonl").write_text(json.dumps({"item_id": "a", "image": name}))
    dataset = open_dataset(root)

    assert [row.image for row in dataset.items()] == [None]
    assert dataset.bad_rows.total == 1


def test_a_link_out_of_images_is_refused(root: Path) -> None:
    (root / "images" / "link.jpg").symlink_to(root.parent / "secret.jpg")
    (root / "items.csv").write_text("item_id,title,text,image\na,A,,link.jpg\n")
    dataset = open_dataset(root)

    assert [row.image for row in dataset.items()] == [None]
    assert dataset.bad_rows.by_problem == {"bad image path": 1}


def test_non_utf8_bytes_make_only_their_row_bad(root: Path) -> None:
    (root / "items.csv").write_bytes(b"item_id,title,text\na,A,ok\nb,caf\xe9,latin\nc,caf\xc3\xa9,utf-8\n")
    dataset = open_dataset(root)

    assert [row.item.title for row in dataset.items()] == ["A", "café"]
    assert reasons(dataset) == [r"items.csv:3: not UTF-8: b'bcaf\xe9latin'; save the file as UTF-8"]


def test_a_byte_order_mark_and_windows_line_ends_are_read(root: Path) -> None:
    (root / "items.csv").write_bytes(b"\xef\xbb\xbfitem_id,title,text\r\na,A,ok\r\n\r\n")
    dataset = open_dataset(root)

    assert [row.item.item_id for row in dataset.items()] == ["a"]
    assert dataset.bad_rows.total == 0


def test_a_quoted_text_may_hold_line_breaks(root: Path) -> None:
    (root / "items.csv").write_text('item_id,title,text\na,A,"one\ntwo"\nb,,\n,,\n')
    dataset = open_dataset(root)

    assert [row.item.text for row in dataset.items()] == ["one\ntwo", ""]
    assert reasons(dataset) == ["items.csv:5: empty id: item_id is ''"]


def test_a_byte_order_mark_is_no_part_of_json_lines(root: Path) -> None:
    (root / "items.csv").unlink()
    (root / "items.jsonl").write_text('{"item_id": "a"}\n{"item_id": "b"}\n', encoding="utf-8-sig")
    dataset = open_dataset(root)

    assert [row.item.item_id for row in dataset.items()] == ["a", "b"]
    assert reasons(dataset) == []


def test_json_lines_hold_numbers_lists_and_nothing(root: Path) -> None:
    (root / "items.csv").unlink()
    lines = [
        '{"item_id": 7, "title": "Seven", "text": null, "tags": ["a", "b"], "price": 1.5, "sale": true}',
        "not json",
        "[1, 2]",
        '{"item_id": "x", "title": {"de": "X"}}',
        "",
        '{"title": "no id"}',
        '{"item_id": "y", "timestamp": "2001-01-01"}',
    ]
    (root / "items.jsonl").write_bytes("\n".join(lines).encode() + b'\n{"item_id": "\xff"}\n')
    dataset = open_dataset(root)
    rows = list(dataset.items())

    assert [(row.item.item_id, row.item.ts_ms, row.is_timed) for row in rows] == [
        ("7", 0, False),
        ("y", 978_307_200_000, True),
    ]
    assert rows[0].item.attributes == {"tags": "a, b", "price": "1.5", "sale": "True"}
    assert [(row.line, row.reason.split(":")[0]) for row in dataset.bad_rows.first] == [
        (2, "bad JSON"),
        (3, "bad JSON"),
        (4, "bad text"),
        (6, "empty id"),
        (8, "bad JSON"),
    ]


def test_the_same_item_at_another_time_is_an_update(root: Path) -> None:
    (root / "items.csv").write_text("item_id,title,text,timestamp\na,Old,,5\na,New,,6\na,Twice,,6\na,Never,,\n")
    dataset = open_dataset(root)

    assert [(row.item.title, row.item.ts_ms) for row in dataset.items()] == [
        ("Old", 5_000),
        ("New", 6_000),
        ("Never", 0),
    ]
    assert reasons(dataset) == ["items.csv:4: duplicate item: item_id 'a' is already in line 3; the first one counts"]


def test_parquet_is_read_with_its_own_types(root: Path) -> None:
    (root / "interactions.csv").unlink()
    (root / "items.csv").unlink()
    moment = datetime(2001, 1, 1, tzinfo=UTC)
    pq.write_table(
        pa.table(
            {
                "user_id": pa.array([1, 2, None], pa.int64()),
                "item_id": ["a", "b", "c"],
                "timestamp": pa.array([moment] * 3, pa.timestamp("ns", tz="UTC")),
            }
        ),
        root / "interactions.parquet",
    )
    pq.write_table(pa.table({"item_id": ["a"], "title": ["A"], "text": [None]}), root / "items.parquet")
    dataset = open_dataset(root)

    events = sorted(dataset.interactions(), key=lambda event: event.user_id)
    assert [(event.event_id, event.user_id, event.ts_ms) for event in events] == [
        ("my-shop-1", "1", 978_307_200_000),
        ("my-shop-2", "2", 978_307_200_000),
    ]
    assert [row.item.title for row in dataset.items()] == ["A"]
    assert reasons(dataset) == ["interactions.parquet:3: empty id: user_id is None"]


def test_a_parquet_time_that_no_calendar_has_is_a_bad_row(root: Path) -> None:
    (root / "interactions.csv").unlink()
    times = pa.array([10**15, 2**60, 10**15], pa.timestamp("us"))
    table = pa.table({"user_id": ["u", "v", "w"], "item_id": ["a", "a", "a"], "timestamp": times})
    pq.write_table(table, root / "interactions.parquet")
    dataset = open_dataset(root)

    assert sorted(event.user_id for event in dataset.interactions()) == ["u", "w"]
    assert reasons(dataset) == [
        "interactions.parquet:2: bad timestamp: date value out of range; times lie in the years 1 to 9999"
    ]


def test_a_stray_quote_in_a_header_is_one_clear_error(root: Path) -> None:
    (root / "interactions.csv").write_text('"user_id"x,item_id,timestamp\nu,a,1\n')
    with pytest.raises(DatasetError, match=r"interactions\.csv cannot be read: ',' expected after"):
        list(open_dataset(root).interactions())


def test_a_damaged_parquet_file_is_one_clear_error(root: Path) -> None:
    (root / "items.csv").unlink()
    (root / "items.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(DatasetError, match=r"items\.parquet cannot be read: "):
        list(open_dataset(root).items())


def test_a_missing_column_is_named_with_those_there_are(root: Path) -> None:
    (root / "interactions.csv").write_text("user,item_id,timestamp\na,b,1\n")
    with pytest.raises(
        DatasetError,
        match="has no column user_id; its columns are user, item_id, timestamp; needed are user_id, item_id, timestamp",
    ):
        list(open_dataset(root).interactions())


def test_an_empty_file_has_no_columns(root: Path) -> None:
    (root / "items.csv").write_text("")
    with pytest.raises(DatasetError, match=r"has no column item_id, title, text; its columns are \(none\)"):
        list(open_dataset(root).items())


def test_a_column_named_twice_is_refused(root: Path) -> None:
    (root / "items.csv").write_text("item_id,title,text,title\n")
    with pytest.raises(DatasetError, match="names a column twice"):
        list(open_dataset(root).items())


def test_strict_reading_stops_at_the_first_bad_row(root: Path) -> None:
    with pytest.raises(BadRowError, match=r"interactions\.csv:5: empty id: user_id is ''"):
        list(open_dataset(root, strict=True).interactions())


def test_kinds_of_the_users_own_are_accepted(root: Path) -> None:
    kinds = EventKinds([EventKind("click", True, True), EventKind("stare", True, True)])
    dataset = open_dataset(root, kinds=kinds)

    assert {event.kind for event in dataset.interactions()} == {"click", "stare"}
    assert dataset.bad_rows.by_problem["unknown kind"] == 1


def test_kinds_without_click_need_one_in_every_row(root: Path) -> None:
    (root / "interactions.csv").write_text("user_id,item_id,timestamp,kind\nann,mug,100,buy\nann,mug,200,\n")
    dataset = open_dataset(root, kinds=EventKinds([EventKind("buy", True, True)]))

    assert [event.kind for event in dataset.interactions()] == ["buy"]
    assert reasons(dataset) == ["interactions.csv:3: unknown kind: none given, which is 'click'; known are buy"]


def features(root: Path, text: object = None, image: object = None) -> Dataset:
    (root / "features").mkdir()
    for name, array in (("text", text), ("image", image)):
        if array is not None:
            np.save(root / "features" / f"{name}.npy", np.asarray(array))
    return open_dataset(root)


def test_features_follow_the_rows_of_the_file_bad_ones_too(root: Path) -> None:
    text = np.arange(14, dtype=np.float32).reshape(7, 2)
    rows = list(features(root, text, text.astype(np.float64)).items())

    vectors = [np.frombuffer(row.item.text_vector or b"", "<f2").tolist() for row in rows]
    assert vectors == [[0, 1], [2, 3], [8, 9], [10, 11]]  # rows 0, 1, 4 and 5
    assert rows[3].item.image_vector == rows[3].item.text_vector


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((6, 2), np.float32), "has 6 rows, items.csv has 7; row i must belong to row i"),
        (np.zeros((7, 2), np.int64), "holds int64; it must be float16, float32 or float64"),
        (np.zeros(7, np.float32), r"has shape \(7,\); it must be \(items, 1 to 32768\)"),
        (np.full((7, 2), np.nan), "has nan in row 0, column 0; numbers must be finite and at most 65504"),
        (np.full((7, 2), 1e6), "has 1000000.0 in row 0, column 0"),
    ],
)
def test_features_that_do_not_fit_are_one_clear_error(root: Path, array: object, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        list(features(root, text=array).items())


def test_pickled_features_are_never_loaded(root: Path) -> None:
    (root / "features").mkdir()
    np.save(root / "features" / "text.npy", np.array([{}] * 7, dtype=object), allow_pickle=True)
    with pytest.raises(DatasetError, match=r"text\.npy cannot be read as a NumPy array"):
        list(open_dataset(root).items())


def test_the_example_in_the_documentation_reads_as_written(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "data-formats.md").read_text(encoding="utf-8")
    interactions, items = re.findall(r"```csv\n(.*?)```", page, flags=re.DOTALL)
    folder = tmp_path / "my-shop"
    (folder / "images" / "mugs").mkdir(parents=True)
    (folder / "images" / "mugs" / "1.jpg").write_bytes(b"jpeg")
    dataset = open_dataset(write(folder, interactions_csv=interactions, items_csv=items))

    assert [(event.event_id, event.kind) for event in dataset.interactions()] == [
        ("my-shop-2", "click"),
        ("my-shop-3", "purchase"),
        ("my-shop-4", "view"),
    ]
    assert [(row.item.title, row.image is not None) for row in dataset.items()] == [
        ("Blue mug", True),
        ("Plant pot", False),
    ]
    assert dataset.bad_rows.total == 0
