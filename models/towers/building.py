"""The first training's towers: loaded, fitted or trained from the catalogue, whichever the config asks for."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from models.content.encode import OnProgress, encode_text
from models.content.features import FeatureStore
from models.content.table import ItemContent
from models.towers.clip import LAION_B32, Clip
from models.towers.hub import LOOK_S, MINILM, find_weights
from models.towers.keyword_tower import N_KEYWORDS, KeywordTower
from models.towers.pair import ReadImage, Towers
from models.towers.patch_tower import PatchConfig, PatchTower
from models.towers.patch_training import MIN_PAIRS, PatchReport, PatchTraining, train_patch_tower
from models.towers.provided_tower import ProvidedTower
from models.towers.text_tower import load_text_tower
from models.towers.tfidf_tower import TfidfTextTower
from models.towers.tower import BadVector, ImageTower, NoKeywords, TextTower, Tower, WeightsUnavailable
from models.towers.vision_tower import VisionTower
from models.towers.vocabulary import MAX_WORDS, Vocabulary, frequent_words


@dataclass(frozen=True)
class TowerConfig:
    """Which towers a catalogue gets.

    Args:
        text: Hub id or local folder of a `transformers` text model, "tfidf", or "provided".
        image: "patch" (trained from the catalogue), "keywords" (the nearest by CLIP, encoded by the text tower) or
            "keywords:" and a CLIP's hub id or local folder, hub id or local folder of a `transformers` vision
            model, or "provided".
        n_keywords: Keywords of a picture.
        max_words: Keywords to choose from, at most.
        patch: Shape of the patch tower.
        training: How the patch tower is trained.
        look_s: Bound on asking the hub for weights, seconds.
        seed: Of what is fitted here and has no seed of its own.
    """

    text: str = MINILM
    image: str = PatchTower.kind
    n_keywords: int = N_KEYWORDS
    max_words: int = MAX_WORDS
    patch: PatchConfig = field(default_factory=PatchConfig)
    training: PatchTraining = field(default_factory=PatchTraining)
    look_s: float = LOOK_S
    seed: int = 0


def obtainable(config: TowerConfig) -> tuple[TowerConfig, tuple[str, ...]]:
    """The config with what is built in the place of towers whose weights cannot be had now, and a line for each."""
    notes = []
    if config.text not in {TfidfTextTower.kind, ProvidedTower.kind}:
        try:
            find_weights(config.text, look_s=config.look_s)
        except WeightsUnavailable as exc:
            notes.append(f"text tower: TF-IDF instead of {config.text}, whose weights cannot be had ({exc})")
            config = replace(config, text=TfidfTextTower.kind)
    if config.image not in {PatchTower.kind, ProvidedTower.kind}:
        kind, _, clip = config.image.partition(":")
        try:
            find_weights((clip or LAION_B32) if kind == KeywordTower.kind else config.image, look_s=config.look_s)
        except WeightsUnavailable as exc:
            notes.append(f"image tower: trained here instead of {config.image} ({exc})")
            config = replace(config, image=PatchTower.kind)
    return config, tuple(notes)


def build_towers(
    items: Sequence[ItemContent],
    config: TowerConfig,
    *,
    read_image: ReadImage,
    store: FeatureStore,
    on_progress: OnProgress | None = None,
) -> tuple[Towers, tuple[str, ...]]:
    """Load or train the towers of a catalogue.

    A modality for which at least half of the items that have it bring a vector of their own takes those.

    Args:
        items: the catalogue.
        config: which towers.
        read_image: image reference to bytes.
        store: where text vectors are kept, so that what is encoded for training is not encoded again.
        on_progress: told while a tower is trained: first of the items whose text is encoded for it, then of the items
            it has learned from, each counted once an epoch.

    Returns:
        The towers, and lines for the user: what was taken in place of what was asked for, what training came to.

    Raises:
        TowerError: a local folder named in the config holds no readable model, or n_keywords is below 1.
    """
    text, text_note = _text_tower(items, config)

    def patch_tower() -> tuple[PatchTower, str]:
        drawn = _drawn(items, text, config.training)
        parts, mask = encode_text(drawn, text, store=store, on_progress=on_progress)
        vectors = parts.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)  # (n, d), mean of the real parts
        images = (read_image(item.image or "") for item in drawn)  # one at a time: a picture may have megabytes
        tower, report = train_patch_tower(
            images, vectors, config=config.patch, training=config.training, on_progress=on_progress
        )
        return tower, _told(report)

    image, image_note = _image_tower(items, config, text=text, patch_tower=patch_tower)
    text_unused = _unused("text", text, [(item.text_vector, bool(item.sentences)) for item in items])
    image_unused = _unused("image", image, [(item.image_vector, item.image is not None) for item in items])
    notes = (text_note, text_unused, image_note, image_unused)
    return Towers(text, image), tuple(note for note in notes if note)


def _text_tower(items: Sequence[ItemContent], config: TowerConfig) -> tuple[TextTower | ProvidedTower, str | None]:
    given = [item.text_vector for item in items if item.text_vector is not None]
    n_texts = sum(bool(item.sentences) or item.text_vector is not None for item in items)
    if given and (config.text == ProvidedTower.kind or 2 * len(given) >= n_texts):
        return ProvidedTower.like(*given), f"text tower: the vectors that {len(given)} items brought"
    name = TfidfTextTower.kind if config.text == ProvidedTower.kind else config.text
    return load_text_tower(name, corpus=[item.sentences for item in items], look_s=config.look_s, seed=config.seed)


def _image_tower(
    items: Sequence[ItemContent],
    config: TowerConfig,
    *,
    text: TextTower | ProvidedTower,
    patch_tower: Callable[[], tuple[PatchTower, str]],
) -> tuple[ImageTower | ProvidedTower, str | None]:
    given = [item.image_vector for item in items if item.image_vector is not None]
    n_images = sum(item.image is not None or item.image_vector is not None for item in items)
    if given and (config.image == ProvidedTower.kind or 2 * len(given) >= n_images):
        return ProvidedTower.like(*given), f"image tower: the vectors that {len(given)} items brought"
    if config.image in {PatchTower.kind, ProvidedTower.kind}:
        return patch_tower()
    try:
        return _pretrained(items, config, text), None
    except (WeightsUnavailable, NoKeywords) as exc:
        tower, note = patch_tower()
        return tower, f"image tower: trained here instead of {config.image} ({exc}); {note}"


def _unused(kind: str, tower: Tower, items: Sequence[tuple[bytes | None, bool]]) -> str | None:
    """A line where some items bring their own vector and others content alone: the tower takes one of both.

    Args:
        kind: text or image.
        tower: the one built.
        items: each one's vector, and whether it has content.
    """
    n_given = sum(vector is not None for vector, _ in items)
    n_others = sum(has_content for vector, has_content in items if vector is None)
    if not n_given or not n_others:
        return None
    unused = f"{kind}s of the {n_others}" if isinstance(tower, ProvidedTower) else f"vectors of the {n_given}"
    return f"{kind} tower: {n_given} items bring their own vectors and {n_others} do not; the {unused} stay unused"


def _pretrained(
    items: Sequence[ItemContent], config: TowerConfig, text: TextTower | ProvidedTower
) -> KeywordTower | VisionTower:
    kind, _, name = config.image.partition(":")
    if kind != KeywordTower.kind:
        return VisionTower.load(config.image, look_s=config.look_s)
    if isinstance(text, ProvidedTower):
        raise NoKeywords("items bring their own text vectors, so no text tower is there to encode keywords")
    words = frequent_words([item.sentences for item in items], limit=config.max_words)
    clip = Clip.load(name or LAION_B32, look_s=config.look_s)
    return KeywordTower(clip, Vocabulary.encoded(words, clip=clip, text=text), n_keywords=config.n_keywords)


def _drawn(items: Sequence[ItemContent], text: TextTower | ProvidedTower, training: PatchTraining) -> list[ItemContent]:
    """Items with picture and text, at most as many as the patch tower learns from."""
    both = [item for item in items if item.image and (item.sentences or item.text_vector) and _fits(item, text)]
    return random.Random(training.seed).sample(both, min(len(both), training.max_pairs))


def _fits(item: ItemContent, text: TextTower | ProvidedTower) -> bool:
    """Whether the text tower takes what the item brought; training goes on without one that does not fit."""
    try:
        if isinstance(text, ProvidedTower):
            text.check(item.item_id, item.text_vector)
    except BadVector:
        return False
    return True


def _told(report: PatchReport) -> str:
    if not report.n_trained:
        return f"image tower: fewer than {MIN_PAIRS} pictured items with text, so it keeps its random weights"
    return (
        f"image tower: trained on {report.n_trained} pictures in {report.seconds:.0f} s; of {report.n_held_out} held "
        f"out, {report.recall_at_10:.0%} find their text in 10 (chance {report.chance:.0%})"
    )
