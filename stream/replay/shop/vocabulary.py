"""The words the shop writes with: what each category does, and how each style talks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ProductWords:
    """Words of a category: what it is called, what it has, what it is for."""

    nouns: tuple[str, ...]
    features: tuple[str, ...]  # follow "it has" or "with"
    uses: tuple[str, ...]  # follow "made for" or "good for"


@dataclass(frozen=True)
class StyleWords:
    """Words of a style."""

    adjectives: tuple[str, ...]
    materials: tuple[str, ...]
    colours: tuple[str, ...]
    moods: tuple[str, ...]  # whole sentences


PRODUCT_WORDS = {
    "backpack": ProductWords(
        ("backpack", "rucksack", "day pack", "school bag"),
        ("padded shoulder straps", "a sleeve for a laptop", "a roomy front pocket", "a rain cover"),
        ("commuting", "weekend hikes", "carrying books to class", "a night away"),
    ),
    "bicycle": ProductWords(
        ("bicycle", "city bike", "touring bike", "cruiser"),
        ("seven gears", "puncture-proof tyres", "quiet disc brakes", "a wide sprung saddle"),
        ("riding to work", "lanes along the river", "fetching the groceries", "long Sunday rides"),
    ),
    "chair": ProductWords(
        ("chair", "armchair", "dining chair", "reading chair"),
        ("a curved backrest", "a deep cushioned seat", "sturdy legs", "a removable cover"),
        ("long dinners", "reading by the window", "the desk in the corner", "a quiet afternoon"),
    ),
    "guitar": ProductWords(
        ("guitar", "acoustic guitar", "travel guitar", "six-string"),
        ("low action on the fretboard", "a warm bass", "tuners that hold their pitch", "nylon strings"),
        ("songs round the fire", "first chords", "recording at home", "small stages"),
    ),
    "headphones": ProductWords(
        ("pair of headphones", "pair of studio headphones", "headset", "wireless headset"),
        ("noise cancelling", "thirty hours of battery", "soft ear cushions", "a clear, even sound"),
        ("listening on the train", "mixing music", "calls at home", "records late at night"),
    ),
    "jacket": ProductWords(
        ("jacket", "rain jacket", "overshirt", "windbreaker"),
        ("deep side pockets", "taped seams", "a light lining", "cuffs that close tight"),
        ("windy days", "layering in autumn", "walks in the rain", "cool evenings out"),
    ),
    "kettle": ProductWords(
        ("kettle", "tea kettle", "stove kettle", "pouring kettle"),
        ("a spout that never drips", "a handle that stays cool", "room for six cups", "a gentle whistle"),
        ("brewing tea", "pour-over coffee", "slow breakfasts", "the camp stove"),
    ),
    "lamp": ProductWords(
        ("lamp", "table lamp", "desk lamp", "reading light"),
        ("a dimmer switch", "warm, even light", "an arm that turns", "a fabric-covered cord"),
        ("reading in bed", "the bedside", "working late", "a dark corner"),
    ),
    "mug": ProductWords(
        ("mug", "coffee mug", "tea cup", "breakfast mug"),
        ("a thick rim", "a handle for the whole hand", "a glaze that survives the dishwasher", "double walls"),
        ("the first coffee", "hot chocolate", "a big pour of tea", "soup at the desk"),
    ),
    "plant pot": ProductWords(
        ("plant pot", "planter", "flowerpot", "herb pot"),
        ("a hole for drainage", "a matching saucer", "room for strong roots", "felt feet"),
        ("succulents", "herbs on the sill", "ferns", "a first cactus"),
    ),
    "shoe": ProductWords(
        ("sneaker", "trainer", "walking shoe", "low-top shoe"),
        ("a cushioned sole", "a breathable upper", "strong laces", "grip on wet ground"),
        ("running errands", "long city walks", "standing all day", "the gym"),
    ),
    "watch": ProductWords(
        ("watch", "wristwatch", "field watch", "dress watch"),
        ("a strap that changes in seconds", "scratch-proof glass", "hands that glow", "ten-year battery"),
        ("being on time", "meetings", "diving", "wearing every day"),
    ),
}

STYLE_WORDS = {
    "nordic": StyleWords(
        ("Nordic", "minimal", "Scandinavian", "quiet"),
        ("pale birch", "undyed wool", "white-oiled ash", "soft felt"),
        ("misty blue", "oat", "pale sage"),
        (
            "Calm lines and nothing too much.",
            "It brings the light of a northern morning.",
            "Simple and warm, in the hygge way.",
        ),
    ),
    "retro": StyleWords(
        ("retro", "vintage", "seventies", "mid-century"),
        ("teak veneer", "thick corduroy", "enamelled tin", "smoked glass"),
        ("burnt orange", "mustard", "tomato red"),
        (
            "Straight out of a 1970s living room.",
            "Bold rings printed like an old record sleeve.",
            "It hums with nostalgia.",
        ),
    ),
    "industrial": StyleWords(
        ("industrial", "workshop", "raw", "loft"),
        ("brushed steel", "riveted iron", "waxed canvas", "bare copper"),
        ("graphite", "gunmetal", "charcoal"),
        (
            "Built like a tool, and it ages like one.",
            "It would be at home in an old factory.",
            "Honest metal, visible screws.",
        ),
    ),
    "coastal": StyleWords(
        ("coastal", "nautical", "seaside", "maritime"),
        ("sailcloth", "bleached driftwood", "braided rope", "salt-glazed clay"),
        ("navy", "ocean blue", "harbour blue"),
        ("Striped like a sailor's shirt.", "You can nearly hear the gulls.", "It smells of summers by the sea."),
    ),
    "botanical": StyleWords(
        ("botanical", "leafy", "garden", "woodland"),
        ("bamboo", "recycled cotton", "moss-dyed linen", "cork"),
        ("fern green", "olive", "forest green"),
        ("Printed with leaves from a herbarium.", "It brings the garden indoors.", "Plant-dyed and kind to the soil."),
    ),
    "blossom": StyleWords(
        ("blossom", "floral", "romantic", "sweet"),
        ("brushed cotton", "rose-tinted porcelain", "silk ribbon", "soft velvet"),
        ("blush pink", "peony", "coral rose"),
        ("Dotted like petals on a path.", "As gentle as cherry trees in April.", "A tender present for somebody dear."),
    ),
    "midnight": StyleWords(
        ("midnight", "celestial", "starry", "nocturne"),
        ("indigo velvet", "dark lacquer", "gilded brass", "blue-black leather"),
        ("deep indigo", "violet night", "ink blue"),
        ("Small gold stars on a night sky.", "Made for those who stay up late.", "It glimmers like a planetarium."),
    ),
    "desert": StyleWords(
        ("desert", "southwestern", "sun-baked", "adobe"),
        ("red clay", "woven jute", "saddle leather", "sandstone"),
        ("terracotta", "rust", "clay red"),
        ("A zigzag woven like an old blanket.", "Warm as a canyon at sunset.", "Dust, sun and an open road."),
    ),
    "aurora": StyleWords(
        ("aurora", "neon", "iridescent", "futuristic"),
        ("holographic film", "glossy resin", "reflective mesh", "anodised aluminium"),
        ("electric mint", "polar turquoise", "hot pink on teal"),
        ("Waves of light like the polar sky.", "It shimmers when you move.", "The look everybody talks about."),
    ),
}

NAMES = (
    "Alba", "Arvo", "Bryn", "Cleo", "Dara", "Elio", "Fenn", "Gia", "Hugo", "Ines", "Juno", "Kaya", "Lark", "Milo",
    "Nola", "Otto", "Piet", "Quin", "Rhea", "Saga", "Tove", "Umi", "Vega", "Wren", "Xavi", "Yara", "Zeno", "Aster",
    "Birk", "Cosmo", "Delia", "Emil", "Freya", "Gus", "Hedda", "Ivo", "Jules", "Kit", "Liv", "Mara", "Nils", "Opal",
    "Pilar", "Remy", "Sol", "Tilda", "Uma", "Vito", "Willa", "Zora",
)  # fmt: skip
NEW_NAMES = ("Nova", "Lumi", "Zephyr", "Isolde", "Pax", "Ondine", "Rio", "Tamsin")  # of products made on request
