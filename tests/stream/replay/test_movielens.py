import os
import time
from pathlib import Path

import pytest

from stream.replay.dataset import BadRowError, open_dataset

RATINGS = """\
1::10::5::978300760
1::20::4::978300761
2::10::3::978300700
2::20::1::978300701
2::30::4::978300702
::10::5::978300800
3::10::5
3::10::6::978300800
3::10::5::yesterday

3::99::5::978300900
"""
MOVIES = """\
10::Toy Story (1995)::Animation|Comedy
20::American President, The (1995)::Comedy|Drama
10::Toy Story again (1995)::Comedy
x::No Number (1990)::Drama
30::Les Misérables (1998)::Drama
40::Odd :: Title (1999)::Drama::Extra
"""
PLOTS = """\
movie_id,source,plot
10,human,"Toys live, when nobody looks."
77,human,No such movie.
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "ratings.dat").write_text(RATINGS, encoding="iso-8859-1")
    (tmp_path / "movies.dat").write_text(MOVIES, encoding="iso-8859-1")
    (tmp_path / "plots.csv").write_text(PLOTS, encoding="utf-8")
    (tmp_path / "posters").mkdir()
    (tmp_path / "posters" / "10.jpg").write_bytes(b"jpeg")
    return tmp_path


def test_ratings_become_likes_and_dislikes_in_the_order_of_time(root: Path) -> None:
    events = list(open_dataset(root).interactions())

    assert [(event.user_id, event.item_id, event.kind, event.ts_ms) for event in events] == [
        ("2", "10", "dislike", 978_300_700_000),
        ("2", "20", "dislike", 978_300_701_000),
        ("2", "30", "like", 978_300_702_000),
        ("1", "10", "like", 978_300_760_000),
        ("1", "20", "like", 978_300_761_000),
        ("3", "99", "like", 978_300_900_000),
    ]
    assert events[0].event_id == f"{root.name.replace('[', '-')}-3"


def test_every_bad_rating_is_reported_with_its_line(root: Path) -> None:
    dataset = open_dataset(root)
    list(dataset.interactions())

    assert [str(row) for row in dataset.bad_rows.first] == [
        "ratings.dat:6: bad id: '' is not a whole number",
        "ratings.dat:7: wrong column count: 3 columns between '::', expected 4",
        "ratings.dat:8: bad rating: '6'; it must be above 0 and at most 5",
        "ratings.dat:9: bad timestamp: 'yesterday'; give seconds since 1970 or ISO 8601",
    ]


def test_movies_have_title_plot_genres_and_poster(root: Path) -> None:
    rows = list(open_dataset(root).items())

    assert [(row.item.item_id, row.item.title) for row in rows] == [
        ("10", "Toy Story"),
        ("20", "The American President"),
        ("30", "Les Misérables"),
    ]
    assert rows[0].item.text == ("Toys live, when nobody looks. A movie of 1995; genres: Animation, Comedy.")
    assert rows[0].item.attributes == {"genres": "Animation, Comedy", "year": "1995", "plot_source": "human"}
    assert rows[0].image == root / "posters" / "10.jpg"
    assert rows[1].item.text == "A movie of 1995; genres: Comedy, Drama."
    assert rows[1].image is None
    assert not rows[0].is_timed


def test_every_bad_movie_and_plot_is_reported_with_its_line(root: Path) -> None:
    dataset = open_dataset(root)
    list(dataset.items())

    assert [str(row) for row in dataset.bad_rows.first] == [
        "movies.dat:3: duplicate item: item_id 10 is already in line 1; the first one counts",
        "movies.dat:4: bad id: 'x' is not a whole number",
        "movies.dat:6: wrong column count: 5 columns between '::', expected 3",
        "plots.csv:3: plot without movie: movie_id 77 is not in movies.dat",
    ]


def test_movies_in_utf8_are_read_too(root: Path) -> None:
    (root / "movies.dat").write_text("30::Les Misérables (1998)::Drama\n", encoding="utf-8")
    assert next(iter(open_dataset(root).items())).item.title == "Les Misérables"


def test_strict_reading_stops_at_the_first_bad_row(root: Path) -> None:
    with pytest.raises(BadRowError, match=r"ratings\.dat:6: bad id: '' is not a whole number; correct the row"):
        list(open_dataset(root, strict=True).interactions())


@pytest.fixture
def movielens_1m() -> Path:
    repository = Path(__file__).parents[3]
    root = Path(os.environ.get("FRESHET_TEST_ML1M") or repository.parent / "shared" / "data" / "ml-1m")
    if not (root / "ratings.dat").is_file():
        pytest.skip(f"no MovieLens-1M in {root}; unzip GroupLens's ml-1m.zip, set FRESHET_TEST_ML1M to it")
    return root


def test_movielens_1m_loads_whole_and_fast(movielens_1m: Path) -> None:
    dataset = open_dataset(movielens_1m)

    began_s = time.process_time()
    n_events, last_ms, n_likes = 0, 0, 0
    for event in dataset.interactions():
        assert event.ts_ms >= last_ms
        last_ms = event.ts_ms
        n_events += 1
        n_likes += event.kind == "like"
    took_s = time.process_time() - began_s

    assert n_likes == 575_281
    assert n_events in {575_281, 1_000_209}
    assert len(list(dataset.items())) == 3_883
    assert dataset.bad_rows.total == 0
    assert took_s < 12 * n_events / 1_000_000 + 1
