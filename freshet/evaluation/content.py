"""Content vectors of the items under evaluation; towers are built once and kept with the runs."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

import numpy as np

from freshet.evaluation.data import EvaluationData
from freshet.progress import Say, bar
from models.content.encode import encode_items
from models.content.features import FeatureStore, content_hash
from models.content.table import ContentTable
from models.evaluation.ranks import BoolArray
from models.towers.building import TowerConfig, build_towers, obtainable
from models.towers.pair import Towers, load_towers, save_towers
from models.towers.tower import TowerError


def encode_catalogue(data: EvaluationData, towers: Towers, *, folder: Path, say: Say) -> ContentTable:
    """Part vectors of all items.

    Args:
        data: the items.
        towers: what encodes.
        folder: where vectors are kept, so that nothing is encoded twice.
        say: told of progress, and how many items have no content at all.

    Raises:
        BadVector: an item's own vector does not fit.
        OSError: the folder cannot be written.
    """
    store = FeatureStore(folder / "features")

    def plain(done: int, total: int) -> None:
        say(f"encoded {done:,} of {total:,} pieces of content")

    with bar("content", "items", plain=plain) as on_progress:
        table = encode_items(data.items, towers, store=store, read_image=data.read_image, on_progress=on_progress)
    bare = np.flatnonzero(~(table.text_mask.any(1) | table.image_mask.any(1)).numpy())
    if len(bare):
        first = table.item_ids[bare[0]]
        say(f"{len(bare):,} of {len(table):,} items have no text and no picture that can be read, such as {first}")
    return table


def towers_here(config: TowerConfig, *, say: Say) -> TowerConfig:
    """Which towers a catalogue gets on this machine now; where it is not what was asked for, that is said."""
    here, notes = obtainable(config)
    for note in notes:
        say(note)
    return here


def catalogue_towers(
    data: EvaluationData, *, is_known: BoolArray, folder: Path, say: Say, config: TowerConfig
) -> Towers:
    """The towers of a catalogue: kept from before, or built now and kept.

    Args:
        data: the items.
        is_known: (N,) items the towers may be trained on; the others are as new to them as to the models.
        folder: where towers and vectors are kept.
        say: told of what takes long.
        config: which towers, as `towers_here` gives it: what is kept is found again by its name.

    Raises:
        TowerError: a folder named in the config holds no readable model.
        OSError: the folder cannot be written.
    """
    store = FeatureStore(folder / "features")
    known = [data.items[row] for row in np.flatnonzero(is_known).tolist()]
    kept = folder / "towers" / content_hash(repr(config), data.fingerprint, is_known.tobytes())
    try:
        return load_towers(kept)
    except TowerError:
        say(f"preparing the content towers on {len(known):,} items")
    with bar("content towers", "items") as on_progress:
        towers, notes = build_towers(known, config, read_image=data.read_image, store=store, on_progress=on_progress)
    for note in notes:
        say(note)
    half_written = kept.with_suffix(f".{uuid.uuid4().hex}.tmp")  # another command may be at the same
    save_towers(half_written, towers)
    shutil.rmtree(kept, ignore_errors=True)
    half_written.rename(kept)
    return towers
