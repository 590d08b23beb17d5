import re
from pathlib import Path

import pytest

from stream.replay.dataset import BadRowError, BadRows, DatasetError, open_dataset
from stream.replay.rows import MAX_KEPT, BadValue


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).write_text("")
    return root


def test_a_folder_of_no_known_format_lists_what_was_looked_for(tmp_path: Path) -> None:
    touch(tmp_path, "interactions.csv", "notes.txt")
    expected = (
        f"data folder {tmp_path} is none of the known formats. Looked for: "
        "folder (interactions.csv|parquet and items.csv|jsonl|parquet), "
        "movielens (ratings.dat and movies.dat), recbole (one .inter and one .item). "
        "Found: interactions.csv, notes.txt"
    )
    with pytest.raises(DatasetError, match=re.escape(expected)):
        open_dataset(tmp_path)


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="Found: nothing"):
        open_dataset(tmp_path)


def test_a_missing_folder_is_named() -> None:
    with pytest.raises(DatasetError, match="data folder no/such/folder does not exist"):
        open_dataset("no/such/folder")


def test_an_archive_is_to_be_unpacked(tmp_path: Path) -> None:
    touch(tmp_path, "ml-1m.zip")
    with pytest.raises(DatasetError, match=r"ml-1m\.zip is a file; unpack it and name the folder"):
        open_dataset(tmp_path / "ml-1m.zip")


def test_two_files_for_one_thing_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "interactions.csv", "items.csv", "items.jsonl")
    with pytest.raises(DatasetError, match=r"has items\.csv and items\.jsonl; keep only one of them"):
        open_dataset(tmp_path)


def test_two_formats_in_one_folder_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "interactions.csv", "items.csv", "ratings.dat", "movies.dat")
    with pytest.raises(DatasetError, match="has the files of movielens and folder; keep only those of one"):
        open_dataset(tmp_path)


def test_no_path_is_the_synthetic_shop() -> None:
    assert open_dataset(None, seed=3).name.startswith("synthetic-")


def test_bad_rows_are_all_counted_and_the_first_kept() -> None:
    bad_rows = BadRows()
    for line in range(1, 101):
        bad_rows.report("a.csv", line, problem=BadValue("empty id" if line % 2 else "bad rating", str(line)))

    assert bad_rows.total == 100
    assert bad_rows.by_problem == {"empty id": 50, "bad rating": 50}
    assert len(bad_rows.first) == MAX_KEPT
    assert str(bad_rows.first[0]) == "a.csv:1: empty id: 1"


def test_strict_bad_rows_raise_at_once_and_say_what_to_do() -> None:
    with pytest.raises(
        BadRowError, match=r"a\.csv:7: empty id: x; correct the row, or read without strict to skip and count"
    ):
        BadRows(strict=True).report("a.csv", 7, problem=BadValue("empty id", "x"))
