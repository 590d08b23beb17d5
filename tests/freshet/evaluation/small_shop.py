"""A data set in the folder format, small enough to train on in a test: users walk round a ring of items."""

import shutil
from pathlib import Path

import numpy as np

N_ITEMS, N_USERS, N_EVENTS = 12, 10, 9
START_S = 1_700_000_000


def write_shop(root: Path, *, n_users: int = N_USERS, n_events: int = N_EVENTS) -> Path:
    """Items with text vectors of their own, three without an image attribute; events ten minutes apart."""
    (root / "features").mkdir(parents=True)
    rng = np.random.default_rng(0)
    np.save(root / "features" / "text.npy", rng.normal(size=(N_ITEMS, 6)).astype(np.float16))
    items = [f"item-{n},Title {n},A text.,{'ada' if n % 2 else 'bo'}" for n in range(N_ITEMS)]
    (root / "items.csv").write_text("\n".join(["item_id,title,text,provider", *items]) + "\n")
    lines = ["user_id,item_id,timestamp"]
    for user in range(n_users):
        for step in range(n_events):
            lines.append(f"user-{user},item-{(user + step) % N_ITEMS},{START_S + 600 * step + user}")
    (root / "interactions.csv").write_text("\n".join(lines) + "\n")
    return root


def write_shop_of_one_item(root: Path) -> Path:
    """The same, but everybody takes the one item again and again, so that no event can be ranked."""
    events = write_shop(root) / "interactions.csv"
    head, *rows = [line.split(",") for line in events.read_text().splitlines()]
    events.write_text(
        "\n".join(",".join(row) for row in (head, *([user, "item-0", at] for user, _, at in rows))) + "\n"
    )
    return root


def write_shop_of_texts(root: Path) -> Path:
    """The same without vectors, so that a tower has to encode the texts."""
    shutil.rmtree(write_shop(root) / "features")
    return root
