import hashlib
import io
import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stream.events import Interaction, encode
from stream.replay.shop.styles import CATEGORIES, COMPLEMENTS, FADING_CATEGORY, STYLES, TREND_STYLE
from stream.replay.synthetic import SyntheticConfig, SyntheticDataset
from stream.replay.timeline import timeline

SMALL = SyntheticConfig(n_items=120, n_users=60, n_interactions=900, n_days=10, picture_px=48)
DIGEST = """
import hashlib
from stream.events import encode
from stream.replay.synthetic import SyntheticConfig, SyntheticDataset
shop = SyntheticDataset(SyntheticConfig(n_items=120, n_users=60, n_interactions=900, n_days=10, picture_px=48))
digest = hashlib.sha256()
for row in shop.items():
    digest.update(encode(row.item) + row.image)
for event in shop.interactions():
    digest.update(encode(event))
print(digest.hexdigest())
"""


@pytest.fixture(scope="module")
def shop() -> SyntheticDataset:
    return SyntheticDataset(SyntheticConfig(picture_px=32))


@pytest.fixture(scope="module")
def events(shop: SyntheticDataset) -> list[Interaction]:
    return list(shop.interactions())


@pytest.fixture(scope="module")
def looks(shop: SyntheticDataset) -> dict[str, tuple[str, str]]:
    return {row.item.item_id: (row.item.attributes["category"], row.item.attributes["style"]) for row in shop.items()}


def digest_of(shop: SyntheticDataset) -> str:
    digest = hashlib.sha256()
    for row in shop.items():
        assert isinstance(row.image, bytes)
        digest.update(encode(row.item) + row.image)
    for event in shop.interactions():
        digest.update(encode(event))
    return digest.hexdigest()


def test_the_same_seed_gives_the_same_bytes_in_any_process() -> None:
    here = digest_of(SyntheticDataset(SMALL))
    elsewhere = subprocess.run(
        [sys.executable, "-c", DIGEST],
        env={**os.environ, "PYTHONHASHSEED": "42", "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    assert elsewhere.stdout.strip() == here


def test_another_seed_gives_another_stream_under_another_name() -> None:
    first = SyntheticDataset(SMALL)
    other = SyntheticDataset(SyntheticConfig(seed=1, n_items=120, n_users=60, n_interactions=900, n_days=10))

    assert first.name != other.name
    assert next(first.interactions()).item_id != next(other.interactions()).item_id


def test_the_default_shop_has_the_promised_size(shop: SyntheticDataset, events: list[Interaction]) -> None:
    assert len(events) == 40_000
    assert len({event.event_id for event in events}) == 40_000
    assert len({event.user_id for event in events}) == 1_500
    assert min(Counter(event.user_id for event in events).values()) >= 2
    assert shop.config.start_ms <= events[0].ts_ms <= events[-1].ts_ms < shop.config.end_ms
    assert all(earlier.ts_ms <= later.ts_ms for earlier, later in pairwise(events))


def test_titles_differ_and_descriptions_have_two_to_four_sentences(shop: SyntheticDataset) -> None:
    items = [row.item for row in shop.items()]

    assert len(items) == 600
    assert len({item.title for item in items}) == 600
    assert {item.text.count(". ") + 1 for item in items} == {2, 3, 4}
    assert len({item.text for item in items}) > 590


def test_a_share_of_the_items_arrives_late_and_nobody_touches_them_before(
    shop: SyntheticDataset, events: list[Interaction]
) -> None:
    arrival_ms = {row.item.item_id: row.item.ts_ms for row in shop.items()}

    assert sum(ts_ms > shop.config.start_ms for ts_ms in arrival_ms.values()) == 90
    assert all(arrival_ms[event.item_id] <= event.ts_ms for event in events)
    late = {item_id for item_id, ts_ms in arrival_ms.items() if ts_ms > shop.config.start_ms}
    assert len(late & {event.item_id for event in events}) > 80


def test_the_drift_raises_one_style_and_fades_one_category(
    shop: SyntheticDataset, events: list[Interaction], looks: dict[str, tuple[str, str]]
) -> None:
    before = [looks[event.item_id] for event in events if event.ts_ms < shop.config.drift_ms - 86_400_000]
    after = [looks[event.item_id] for event in events if event.ts_ms >= shop.config.drift_ms]

    assert sum(style == TREND_STYLE for _, style in before) == 0
    assert sum(style == TREND_STYLE for _, style in after) / len(after) > 0.10
    assert sum(category == FADING_CATEGORY for category, _ in before) / len(before) > 0.07
    assert sum(category == FADING_CATEGORY for category, _ in after) / len(after) < 0.05


def test_the_next_item_follows_the_look_of_the_one_before(
    events: list[Interaction], looks: dict[str, tuple[str, str]]
) -> None:
    last: dict[str, tuple[str, str]] = {}
    steps: Counter[str] = Counter()
    for event in events:
        category, style = looks[event.item_id]
        if event.user_id in last:
            old_category, old_style = last[event.user_id]
            steps["all"] += 1
            steps["same look"] += (old_category, old_style) == (category, style)
            steps["complement"] += (COMPLEMENTS[old_category], old_style) == (category, style)
        last[event.user_id] = category, style

    assert steps["same look"] / steps["all"] > 0.25
    assert steps["complement"] / steps["all"] > 0.25


def test_tastes_are_what_a_user_looked_at_last(
    shop: SyntheticDataset, events: list[Interaction], looks: dict[str, tuple[str, str]]
) -> None:
    last_day = [event for event in events if event.ts_ms >= shop.config.end_ms - 2 * 86_400_000]
    liked = [
        any(looks[event.item_id][1] == taste.style for taste in shop.tastes_of(event.user_id)) for event in last_day
    ]
    assert sum(liked) / len(liked) > 0.6
    with pytest.raises(KeyError):
        shop.tastes_of("nobody")


def test_a_new_item_is_not_in_the_stream_and_always_the_same(shop: SyntheticDataset) -> None:
    first, again, other = (shop.new_item("lamp", "aurora", n) for n in (0, 0, 1))
    known = {row.item.item_id: row.item.title for row in shop.items()}

    assert first == again
    assert first.item.item_id != other.item.item_id
    assert first.item.title != other.item.title
    assert first.item.item_id not in known
    assert first.item.title not in known.values()
    assert first.item.attributes == {"category": "lamp", "style": "aurora"}
    ids = {shop.new_item("mug", style, n).item.item_id for style in STYLES for n in range(2)}
    assert len(ids) == 2 * len(STYLES)


def test_a_new_item_of_no_category_is_refused(shop: SyntheticDataset) -> None:
    with pytest.raises(ValueError, match="no product for category='boat', style='aurora', n=0; categories are"):
        shop.new_item("boat", "aurora", 0)


def pixels(image: object) -> np.ndarray:
    assert isinstance(image, bytes)
    with Image.open(io.BytesIO(image)) as picture:
        assert (picture.format, picture.size, picture.mode) == ("JPEG", (48, 48), "RGB")
        return np.asarray(picture.resize((12, 12)), dtype=np.float64).ravel()


def test_pictures_show_category_and_style() -> None:
    shop = SyntheticDataset(SMALL)
    known = {
        (category, style): [pixels(shop.new_item(category, style, n).image) for n in range(3)]
        for category in CATEGORIES
        for style in STYLES
    }
    hits: Counter[str] = Counter()
    for category, style in known:
        picture = pixels(shop.new_item(category, style, 9).image)
        near = min(known, key=lambda look: min(np.abs(picture - seen).sum() for seen in known[look]))
        hits["category"] += near[0] == category
        hits["style"] += near[1] == style

    assert hits["category"] / len(known) > 0.6  # 1/12 by chance
    assert hits["style"] / len(known) > 0.8  # 1/9 by chance


def test_the_timeline_of_the_shop_is_in_the_order_of_time() -> None:
    times = [row.ts_ms if isinstance(row, Interaction) else row.item.ts_ms for row in timeline(SyntheticDataset(SMALL))]
    assert len(times) == 120 + 900
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("n_items", 10, "n_items=10 must be between 96 and 100000"),
        ("n_interactions", 10, "n_interactions=10 must be between 3000 and"),
        ("n_days", 1, "n_days=1 must be between 5"),
        ("late_share", 0.9, r"late_share=0\.9 must be between 0\.0 and 0\.5"),
        ("drift_share", float("nan"), "drift_share=nan must be between"),
        ("picture_px", 4, "picture_px=4 must be between 32 and 1024"),
    ],
)
def test_a_config_out_of_bounds_is_refused(field: str, value: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SyntheticConfig(**{field: value})  # type: ignore[arg-type]
