"""A product's title and description, put together from the words of its category and its style."""

from __future__ import annotations

from random import Random

from stream.replay.shop.vocabulary import NAMES, NEW_NAMES, PRODUCT_WORDS, STYLE_WORDS, ProductWords, StyleWords


def name_of(number: int, *, is_new: bool) -> str:
    """The model name of a category's product number, from 0; new products have names of their own.

    >>> name_of(0, is_new=False), name_of(50, is_new=False), name_of(0, is_new=True)
    ('Alba', 'Alba 2', 'Nova')
    """
    names = NEW_NAMES if is_new else NAMES
    series = number // len(names) + 1
    name = names[number % len(names)]
    return f"{name} {series}" if series > 1 else name


def title_of(category: str, style: str, *, name: str, rng: Random) -> str:
    """A title around the model name.

    Args:
        category: one of PRODUCT_WORDS.
        style: one of STYLE_WORDS.
        name: of the model; a category has each once, so titles differ.
        rng: draws the words.
    """
    adjective = rng.choice(STYLE_WORDS[style].adjectives)
    noun = rng.choice(PRODUCT_WORDS[category].nouns)
    titles = (
        f"{name}, {_with_article(adjective)} {noun}",
        f"{noun} {name} in {adjective} style",
        f"{adjective} {noun} {name}",
    )
    return _capital(rng.choice(titles))


def description_of(category: str, style: str, rng: Random) -> str:
    """Two to four sentences in English."""
    product, look = PRODUCT_WORDS[category], STYLE_WORDS[style]
    sentences = [_opening(product, look, rng), _features(product, rng)]
    if rng.random() < 0.7:
        sentences.append(rng.choice(look.moods))
    if rng.random() < 0.5:
        sentences.append(_use(product, look, rng))
    return " ".join(sentences)


def _opening(product: ProductWords, look: StyleWords, rng: Random) -> str:
    noun, material = rng.choice(product.nouns), rng.choice(look.materials)
    colour, adjective = rng.choice(look.colours), rng.choice(look.adjectives)
    return _capital(
        rng.choice(
            (
                f"{_with_article(adjective)} {noun} in {colour}, made with {material}.",
                f"This {noun} combines {material} and {colour}.",
                f"{colour} and {material} give this {noun} its {adjective} look.",
                f"our {adjective} {noun}, finished in {colour}.",
            )
        )
    )


def _features(product: ProductWords, rng: Random) -> str:
    first, second = rng.sample(product.features, 2)
    return rng.choice(
        (
            f"It has {first} and {second}.",
            f"With {first}, and {second} on top.",
            f"You get {first}; we added {second}.",
            f"People choose it for {first}.",
        )
    )


def _use(product: ProductWords, look: StyleWords, rng: Random) -> str:
    first, second = rng.sample(product.uses, 2)
    return rng.choice(
        (
            f"Made for {first} and {second}.",
            f"Good for {first}, just as good for {second}.",
            f"Pair it with something in {rng.choice(look.colours)} for {first}.",
        )
    )


def _with_article(word: str) -> str:
    return f"{'an' if word[0].lower() in 'aeiou' else 'a'} {word}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
