"""The towers of a catalogue: built by the first training, kept in every bundle, loaded where items are encoded.

    towers/text/tower.json    kind, revision, settings        towers/image/...  likewise
    towers/text/tower.safetensors

Weights from the hub are not copied: their name is kept, and their revision must be the same when they are loaded.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from models.content.table import ItemContent
from models.towers.hub import LOOK_S, find_weights
from models.towers.keyword_tower import KeywordTower
from models.towers.patch_tower import PatchTower
from models.towers.pretrained import LIBRARY
from models.towers.provided_tower import ProvidedTower
from models.towers.text_tower import TransformerTextTower
from models.towers.tfidf_tower import TfidfTextTower
from models.towers.tower import (
    BadVector,
    DamagedTower,
    ImageTower,
    TextTower,
    Tower,
    TowerState,
    read_state,
    write_state,
)
from models.towers.vision_tower import VisionTower

ReadImage = Callable[[str], bytes | None]
"""An image reference to the encoded picture; None where it is gone."""

_TEXT, _IMAGE = "text", "image"
_AnyTower = TypeVar("_AnyTower", bound=Tower)


@dataclass(frozen=True)
class Towers:
    """Both towers of a model. A `ProvidedTower` takes the vectors that came with the items."""

    text: TextTower | ProvidedTower
    image: ImageTower | ProvidedTower

    @property
    def revisions(self) -> dict[str, str]:
        """Revision by modality, as a bundle's manifest names them."""
        return {_TEXT: self.text.revision, _IMAGE: self.image.revision}

    def check(self, item: ItemContent) -> None:
        """Refuse an item whose own vectors the towers cannot take.

        Raises:
            BadVector: another width, or values that are no numbers; the item is named.
        """
        for tower, vector in ((self.text, item.text_vector), (self.image, item.image_vector)):
            if isinstance(tower, ProvidedTower):
                tower.check(item.item_id, vector)

    def fitting(self, item: ItemContent) -> ItemContent:
        """The item without its own vectors where these towers cannot take them: it came before they were known."""
        try:
            self.check(item)
        except BadVector:
            return replace(item, text_vector=None, image_vector=None)
        return item


def save_towers(folder: Path, towers: Towers) -> None:
    """Keep both towers under `folder`, such as a bundle's `towers/`."""
    write_state(folder / _TEXT, towers.text.state)
    write_state(folder / _IMAGE, towers.image.state)


def load_towers(folder: Path, *, loaded: Towers | None = None, look_s: float = LOOK_S) -> Towers:
    """The towers `save_towers` kept.

    Args:
        folder: what `save_towers` wrote.
        loaded: towers at hand; those of the same revision are taken from there, without reading weights.
        look_s: bound on asking the hub where weights lie there, seconds.

    Raises:
        DamagedTower: files are missing, changed or of another format, or weights from elsewhere have changed.
        WeightsUnavailable: weights from the hub are neither on disk nor to be had now.
        TowerError: a local folder named in there holds no readable model any more.
    """
    text_state, image_state = read_state(folder / _TEXT), read_state(folder / _IMAGE)
    if loaded is not None and loaded.text.revision == text_state.revision:
        text = loaded.text
    else:
        text = _checked(_text_tower(text_state, look_s), text_state)
    if loaded is not None and loaded.image.revision == image_state.revision:
        return Towers(text, loaded.image)
    return Towers(text, _checked(_image_tower(image_state, look_s), image_state))


def _text_tower(state: TowerState, look_s: float) -> TextTower | ProvidedTower:
    match state.kind:
        case TfidfTextTower.kind:
            return TfidfTextTower.from_state(state)
        case ProvidedTower.kind:
            return ProvidedTower.from_state(state)
        case TransformerTextTower.kind:
            name = _name(state)
            return TransformerTextTower(name, find_weights(name, look_s=look_s))
    raise DamagedTower(f"text tower of unknown kind {state.kind!r}; this release cannot read it")


def _image_tower(state: TowerState, look_s: float) -> ImageTower | ProvidedTower:
    match state.kind:
        case PatchTower.kind:
            return PatchTower.from_state(state)
        case ProvidedTower.kind:
            return ProvidedTower.from_state(state)
        case VisionTower.kind:
            return VisionTower.load(_name(state), look_s=look_s)
        case KeywordTower.kind:
            return KeywordTower.from_state(state, look_s=look_s)
    raise DamagedTower(f"image tower of unknown kind {state.kind!r}; this release cannot read it")


def _name(state: TowerState) -> str:
    name = state.settings.get("name")
    if not isinstance(name, str):
        raise DamagedTower(f"{state.kind} tower names no weights: {name!r}; restore the bundle")
    return name


def _checked(tower: _AnyTower, state: TowerState) -> _AnyTower:
    if tower.revision != state.revision:
        raise DamagedTower(
            f"tower {state.revision} was kept, but its weights now give {tower.revision}: they were changed"
            f"{_other_library(state, tower.state)}; restore them or train anew"
        )
    return tower


def _other_library(kept: TowerState, now: TowerState) -> str:
    """The other reason that the same files may give another revision, where it can be one."""
    then, here = kept.settings.get(LIBRARY, "of an unknown version"), now.settings.get(LIBRARY)
    if here is None or then == here:
        return ""
    return f", or {LIBRARY} {here} reads them otherwise than the one it was kept with, {then}"
