import json
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
import pytest

from consumers.catalog.catalog import Catalog
from consumers.catalog.model_follower import ModelFollower
from consumers.catalog.placement import Placement
from consumers.sequences.user_sequences import UserSequences
from freshet.cli import main
from freshet.evaluation.content import catalogue_towers, encode_catalogue
from freshet.evaluation.data import read_data
from freshet.fitting.rival import RivalOptions, fit_rival
from models.content.features import FeatureStore
from models.encoder.time_gaps import UNKNOWN_MS
from models.evaluation.splits import leave_one_out
from models.registry.registry import Registry
from models.rivals.build import NEXT_ITEM, build
from models.rivals.recommender import Catalogue
from models.rivals.served import LOADERS
from models.slot import ModelSlot
from models.towers.building import TowerConfig
from serving.feed_maker import FeedMaker, FeedTask
from stream.images import ImageStore
from stream.kinds import DEFAULT_KINDS
from stream.replay.dataset import open_dataset
from tests.consumers.store_support import new_metrics
from tests.freshet.evaluation.small_shop import N_ITEMS, write_shop, write_shop_of_one_item, write_shop_of_texts
from tests.freshet.terminal import Terminal

SESSION = (3, 4, 5)


@pytest.fixture
def shop(tmp_path: Path) -> str:
    return str(write_shop(tmp_path / "shop"))


def fitted(name: str, shop: str, folder: Path, *, n_epochs: int | None = 2) -> str:
    n_epochs = n_epochs if name in NEXT_ITEM else None
    fit_rival(RivalOptions(name, shop, folder, n_epochs=n_epochs), kinds=DEFAULT_KINDS)
    return Registry(folder / "registry").versions()[-1]


def offline_scores(name: str, shop: str, folder: Path) -> dict[str, float]:
    """What the rival that `freshet evaluate` asks says after the session."""
    data = read_data(open_dataset(shop, kinds=DEFAULT_KINDS), kinds=DEFAULT_KINDS)
    train = leave_one_out(data.events).refit
    towers = catalogue_towers(
        data, is_known=np.ones(N_ITEMS, np.bool_), folder=folder, say=lambda _: None, config=TowerConfig()
    )
    content = encode_catalogue(data, towers, folder=folder, say=lambda _: None)
    has_id = np.bincount(train.rows, minlength=N_ITEMS) > 0
    rival = build(name, Catalogue(N_ITEMS, content, has_id), seed=0, n_epochs=2)
    rival.fit(train, validation=None, on_epoch=lambda _: None)
    nobody_knows = np.full(len(SESSION), UNKNOWN_MS)
    scores = rival.scores([np.array(SESSION)], [nobody_knows])[0]
    return dict(zip(content.item_ids, scores.tolist(), strict=True))


class Serving:
    """What `freshet serve` makes feeds with, over the shop's items."""

    def __init__(self, shop: str, folder: Path) -> None:
        self.registry, self.slot, self.catalog = Registry(folder / "registry"), ModelSlot(), Catalog()
        for row in open_dataset(shop, kinds=DEFAULT_KINDS).items():
            self.catalog.apply(row.item)
        store, images = FeatureStore(folder / "features"), ImageStore(folder / "images")
        placement = Placement(self.catalog, self.slot, store=store, images=images)
        self.follower = ModelFollower(self.registry, placement, self.slot, new_metrics())
        self.maker = FeedMaker(self.slot, UserSequences(1), self.catalog)

    def promote(self, version: str) -> None:
        self.registry.promote(version, by="operator", reason="by hand")
        assert self.follower.step()


@pytest.mark.parametrize("name", LOADERS)
def test_promoted_rival_answers_feeds_with_its_offline_ranking(name: str, shop: str, tmp_path: Path) -> None:
    version = fitted(name, shop, tmp_path)
    serving = Serving(shop, tmp_path)
    serving.promote(version)
    task = FeedTask(None, k=N_ITEMS - 3, items=tuple(f"item-{n}" for n in SESSION))

    (feed,) = serving.maker.make([task])

    expected = offline_scores(name, shop, tmp_path)
    best = sorted((score for item_id, score in expected.items() if item_id not in task.items), reverse=True)
    assert (feed.version, feed.degraded) == (version, None)
    assert [expected[one.item_id] for one in feed.items] == pytest.approx(best, abs=1e-3)
    assert [one.score for one in feed.items] == pytest.approx(best, abs=1e-3)


def test_versions_of_two_kinds_follow_each_other_in_one_slot(shop: str, tmp_path: Path) -> None:
    first, second = fitted("sasrec", shop, tmp_path), fitted("cooccurrence", shop, tmp_path)
    serving = Serving(shop, tmp_path)

    serving.promote(first)
    serving.promote(second)

    current, previous = serving.slot.current(), serving.slot.previous
    assert current is not None
    assert previous is not None
    assert (current.version, previous.version) == (second, first)
    assert current.manifest.tower_revisions == previous.manifest.tower_revisions


def test_bundle_names_its_kind_and_the_card_what_becomes_of_new_items(shop: str, tmp_path: Path) -> None:
    version = fitted("sasrec", shop, tmp_path)

    registry = Registry(tmp_path / "registry")
    manifest = registry.open(version).manifest
    card = registry.path(version).with_name(f"{version}.md").read_text()
    points = json.loads(registry.path(version).with_name(f"{version}.json").read_text())
    assert (manifest.kind, manifest.reason, manifest.parent) == ("sasrec", "sasrec on shop", None)
    assert manifest.config["rival"]["shape"]["window"] == 50
    assert registry.current() is None
    assert card.startswith(f"# {version}\n\nSASRec (Kang and McAuley, arXiv 1808.09781)")
    assert "| new items stand | behind all others, and as newcomers |" in card
    assert "| data | shop, 80 events, 12 items |" in card
    assert [point["epoch"] for point in points] == [1, 2]
    assert [point["ndcg_at_10"] for point in points] == [None, manifest.metrics["ndcg_at_10"]]


def test_card_of_a_rival_without_epochs_has_its_figure_alone(shop: str, tmp_path: Path) -> None:
    version = fitted("popularity", shop, tmp_path)

    bundle = Registry(tmp_path / "registry").path(version)
    card = bundle.with_name(f"{version}.md").read_text()
    assert "\n\nFiltered NDCG@10 0." in card
    assert "| epoch |" not in card
    assert json.loads(bundle.with_name(f"{version}.json").read_text()) == []


@pytest.mark.parametrize("name", ["cooccurrence", "sasrec"])
def test_without_an_event_that_can_be_ranked_no_figure_is_published(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version = fitted(name, str(write_shop_of_one_item(tmp_path / "shop")), tmp_path, n_epochs=1)

    bundle = Registry(tmp_path / "registry").path(version)
    said = capsys.readouterr().err
    assert json.loads((bundle / "manifest.json").read_text())["metrics"] == {}
    assert "NaN" not in bundle.with_name(f"{version}.json").read_text()
    assert (
        "o NDCG@10: none of the last events of users could be ranked" in bundle.with_name(f"{version}.md").read_text()
    )
    assert said.count("no NDCG@10: none of the last events of users could be ranked; each is of an item") == 1


def test_what_is_left_out_of_the_data_is_said(shop: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (Path(shop) / "interactions.csv").open("a") as events:
        events.write("user-0,item-0,soon\n")

    fitted("cooccurrence", shop, tmp_path)

    assert "1 bad rows: bad timestamp 1\n  interactions.csv:" in capsys.readouterr().err


def test_epochs_are_chosen_first_where_none_are_given(
    shop: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fitted("sasrec", shop, tmp_path, n_epochs=None)

    lines = [line for line in capsys.readouterr().err.splitlines() if "epoch" in line]
    choosing = [float(line.split("NDCG@10 ")[1].split()[0]) for line in lines if line.startswith("choosing: ")]
    fitting = [line for line in lines if line.startswith("fitting: ")]
    assert len(lines) == len(choosing) + len(fitting)
    assert len(fitting) == choosing.index(max(choosing)) + 1


def test_training_is_a_bar_on_a_terminal_below_the_line_of_every_epoch(shop: str, tmp_path: Path) -> None:
    with redirect_stderr(Terminal()) as terminal:
        fitted("sasrec", shop, tmp_path)

    bars = [line for line in terminal.drawn if line.startswith("fitting [")]
    assert [line.split("] ")[1].split(", ")[0] for line in bars] == [
        "0/140 targets",
        "70/140 targets",
        "140/140 targets",
    ]
    assert [line.split(",")[0] for line in terminal.lines[-3:]] == ["fitting: epoch 1", "fitting: epoch 2", ""]


def test_model_without_epochs_has_no_bar(shop: str, tmp_path: Path) -> None:
    with redirect_stderr(Terminal()) as terminal:
        fitted("popularity", shop, tmp_path)

    assert not [line for line in terminal.drawn if line.startswith("fitting")]


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (
            ["--model", "m2se"],
            "--model m2se is no rival to fit; there are popularity, cooccurrence, content-knn",
        ),
        (["--model", "popularity", "--epochs", "3"], "--epochs 3: popularity has none; leave it out"),
        (["--model", "sasrec", "--epochs", "0"], "--epochs 0 must be at least 1"),
        (["--model", "sasrec", "--epochs", "21"], "--epochs 21 must be at most 20, the schedule of sasrec"),
        (["--model", "sasrec", "--seed", "-1"], "--seed -1 must be at least 0 and at most 4294967295"),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_one_line(
    asked: list[str], reason: str, shop: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "--data", shop, "--data-dir", str(tmp_path), *asked]) == 1

    assert capsys.readouterr().err.startswith(f"freshet: {reason}")


def test_the_command_takes_the_towers_that_are_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = str(write_shop_of_texts(tmp_path / "texts"))
    asked = ["fit", "--model", "content-knn", "--data", shop, "--data-dir", str(tmp_path / "kept")]

    monkeypatch.setenv("FRESHET_TEXT_TOWER", "tfidf")
    assert main(asked) == 0
    monkeypatch.setenv("FRESHET_TEXT_TOWER", "/no/such/folder")
    assert main(asked) == 1

    (manifest,) = Registry(tmp_path / "kept" / "registry").manifests()
    assert manifest.tower_revisions["text"].startswith("tfidf-")
    assert capsys.readouterr().err.endswith(
        "freshet: no model in folder '/no/such/folder': config.json and *.safetensors are wanted there\n"
    )


def test_the_command_fits_into_the_data_folder(shop: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "kept")

    assert main(["fit", "--model", "content-knn", "--data", shop, "--data-dir", folder]) == 0
    assert main(["models", "list", "--data-dir", folder]) == 0

    said = capsys.readouterr().out
    assert said.startswith("published v000001-")
    assert "content-knn on shop" in said
