import io
import shutil
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from freshet.evaluation.content import catalogue_towers, encode_catalogue
from freshet.evaluation.data import ALWAYS_MS, EvaluationData, EvaluationError, read_data, thinned
from models.content.features import FeatureStore
from models.content.table import ContentTable
from models.towers.building import TowerConfig, build_towers
from stream.kinds import DEFAULT_KINDS
from stream.replay.dataset import open_dataset
from tests.freshet.terminal import Terminal

ITEMS = """item_id,title,text,image,timestamp,genres
heat,Heat,A thief.,heat.png,1000,"crime, drama"
solaris,Solaris,A planet.,,2000,
heat,Heat (1995),A thief and a policeman.,heat.png,3000,"crime, drama"
nothing,,,broken.png,,crime
"""
EVENTS = """user_id,item_id,timestamp,kind
bo,solaris,1500,click
ada,heat,1100,click
ada,solaris,2500,dislike
ada,gone,2600,click
ada,nothing,2700,view
"""


@pytest.fixture
def data(tmp_path: Path) -> EvaluationData:
    (tmp_path / "images").mkdir()
    picture = io.BytesIO()
    Image.new("RGB", (40, 40), "#884422").save(picture, "PNG")
    (tmp_path / "images" / "heat.png").write_bytes(picture.getvalue())
    (tmp_path / "images" / "broken.png").write_bytes(b"no picture")
    (tmp_path / "items.csv").write_text(ITEMS)
    (tmp_path / "interactions.csv").write_text(EVENTS)
    return read_data(open_dataset(tmp_path), kinds=DEFAULT_KINDS)


def test_events_of_known_items_that_enter_a_sequence_become_histories(data: EvaluationData) -> None:
    assert [item.item_id for item in data.items] == ["heat", "solaris", "nothing"]
    assert data.events.rows.tolist() == [0, 2, 1]  # ada's, then bo's
    assert data.n_left_out == 1


def test_the_newest_state_of_an_item_counts(data: EvaluationData) -> None:
    assert data.items[0].sentences == ("Heat (1995)", "A thief and a policeman.")
    assert data.has_text.tolist() == [True, True, False]


def test_items_are_live_from_their_time_or_their_first_event(data: EvaluationData) -> None:
    assert data.live_from_ms.tolist() == [1_000_000, 1_500_000, ALWAYS_MS]


def test_a_picture_that_does_not_decode_is_a_missing_one(data: EvaluationData) -> None:
    assert data.has_image.tolist() == [True, False, False]
    assert data.read_image(data.items[0].image or "") is not None
    assert data.read_image("gone") is None


def test_a_picture_that_cannot_be_used_is_counted_and_named(data: EvaluationData, tmp_path: Path) -> None:
    said: list[str] = []
    dataset = open_dataset(tmp_path)

    read_data(dataset, kinds=DEFAULT_KINDS, say=said.append)

    assert said[0] == "1 bad rows: bad image 1"
    assert said[1].startswith("  broken.png: bad image: image of 10 bytes does not decode")
    assert said[1].endswith("send a whole JPEG, PNG, WEBP, GIF; the item goes without picture")
    assert said[2:] == ["1 events are of items that the data set does not have, or not yet"]


def test_what_is_wrong_with_rows_is_said_before_too_few_are_left(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,title,text\na,,\nb,,\n")
    (tmp_path / "interactions.csv").write_text(
        "user_id,item_id,timestamp\n" + "".join(f"ann,a,{1_700_000_000_000 + n}\n" for n in range(25))
    )
    said: list[str] = []

    with pytest.raises(EvaluationError, match="has 2 items and 0 events"):
        read_data(open_dataset(tmp_path), kinds=DEFAULT_KINDS, say=said.append)

    assert said[0] == "25 bad rows: bad timestamp 25"
    assert said[1].endswith("give seconds since 1970 (not milliseconds) or ISO 8601")
    assert (len(said), said[-1]) == (22, "  and 5 more")


def test_groups_come_from_a_usual_attribute_cut_at_commas(data: EvaluationData) -> None:
    assert data.group_name == "genres"
    assert data.groups == (("crime", "drama"), (), ("crime",))


def test_the_fingerprint_changes_with_a_single_event(data: EvaluationData, tmp_path: Path) -> None:
    again = read_data(open_dataset(tmp_path), kinds=DEFAULT_KINDS)
    (tmp_path / "interactions.csv").write_text(EVENTS + "ada,heat,2800,view\n")
    other = read_data(open_dataset(tmp_path), kinds=DEFAULT_KINDS)

    assert data.fingerprint == again.fingerprint != other.fingerprint


def test_a_catalogue_of_one_item_is_refused(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,title,text\nheat,Heat,A thief.\n")
    (tmp_path / "interactions.csv").write_text("user_id,item_id,timestamp,kind\nada,heat,1,click\nbo,heat,2,click\n")

    with pytest.raises(EvaluationError, match=r"has 1 items and 2 events of them .*at least two items and one event"):
        read_data(open_dataset(tmp_path), kinds=DEFAULT_KINDS)


def test_towers_and_vectors_are_made_once(data: EvaluationData, tmp_path: Path) -> None:
    said: list[str] = []
    config = TowerConfig(text="tfidf")
    is_known = np.array([True, True, False])

    def encoded() -> ContentTable:
        towers = catalogue_towers(data, is_known=is_known, folder=tmp_path / "runs", say=said.append, config=config)
        return encode_catalogue(data, towers, folder=tmp_path / "runs", say=said.append)

    first = encoded()
    n_said = len(said)
    second = encoded()

    bare = "1 of 3 items have no text and no picture that can be read, such as nothing"
    assert said[0] == "preparing the content towers on 2 items"
    assert said[n_said - 1 :] == [bare, bare]
    assert first.item_ids == ("heat", "solaris", "nothing")
    assert first.text.equal(second.text)
    assert first.image.equal(second.image)
    assert first.image_mask.any(dim=1).tolist() == [True, False, False]


def test_towers_that_another_command_is_writing_are_left_alone(data: EvaluationData, tmp_path: Path) -> None:
    is_known, config = np.array([True, True, False]), TowerConfig(text="tfidf")
    catalogue_towers(data, is_known=is_known, folder=tmp_path, say=lambda _: None, config=config)
    (kept,) = (tmp_path / "towers").iterdir()
    shutil.rmtree(kept)
    being_written = kept.with_suffix(".tmp") / "text"
    being_written.mkdir(parents=True)

    catalogue_towers(data, is_known=is_known, folder=tmp_path, say=lambda _: None, config=config)

    assert being_written.exists()
    assert sorted(path.name for path in (tmp_path / "towers").iterdir()) == [kept.name, f"{kept.name}.tmp"]


def test_building_towers_is_a_bar_on_a_terminal_and_silent_elsewhere(
    data: EvaluationData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def build(name: str) -> None:
        is_known, config = np.array([True, True, True]), TowerConfig(text="tfidf")
        catalogue_towers(data, is_known=is_known, folder=tmp_path / name, say=lambda _: None, config=config)

    with redirect_stderr(Terminal()) as terminal:
        build("watched")
    build("logged")

    assert [line.split(", ")[0] for line in terminal.drawn] == ["content towers [####################] 1/1 items"]
    assert terminal.lines == [""]
    assert capsys.readouterr().err == ""


def test_encoding_content_is_a_bar_on_a_terminal_and_lines_elsewhere(data: EvaluationData, tmp_path: Path) -> None:
    said: list[str] = []
    towers, _ = build_towers(
        data.items, TowerConfig(text="tfidf"), read_image=data.read_image, store=FeatureStore(tmp_path)
    )

    with redirect_stderr(Terminal()) as terminal:
        encode_catalogue(data, towers, folder=tmp_path / "watched", say=said.append)
    in_lines: list[str] = []
    encode_catalogue(data, towers, folder=tmp_path / "logged", say=in_lines.append)

    texts, pictures = terminal.drawn
    assert texts.startswith("content [####################] 2/2 items, ")
    assert pictures.startswith("content [####################] 1/1 items, ")
    assert terminal.lines == [""]
    assert said == in_lines[2:]
    assert in_lines[:2] == ["encoded 2 of 2 pieces of content", "encoded 1 of 1 pieces of content"]


def test_a_thinned_data_set_has_the_newest_events_of_each_user_and_is_another(data: EvaluationData) -> None:
    thin = thinned(data, 1)

    assert np.diff(thin.events.starts).tolist() == np.minimum(np.diff(data.events.starts), 1).tolist()
    for user in range(len(data.events.starts) - 1):
        all_rows = data.events.rows[data.events.starts[user] : data.events.starts[user + 1]]
        kept = thin.events.rows[thin.events.starts[user] : thin.events.starts[user + 1]]
        assert kept.tolist() == all_rows[-1:].tolist()
    assert thin.fingerprint != data.fingerprint
