"""How soon an item with text and picture is recommendable, under the load of benchmarks.freshness.

Command   python -m benchmarks.new_items --json FILE [--dir FOLDER] [--seconds N]
Data      the synthetic shop, and brand-new products of it: a title, a description, a picture of 192 x 192
Hardware  2 CPU cores; FOLDER must lie on the disk to be measured
Minutes   3
Expected  PUT accepted (202 received) to recommendable: p99 at most 3 s, at 2 items/s, 200 events/s and 25 feeds/s,
          training cycles back to back

Recommendable is: the index that feeds are scored from has the item, as `/similar` tells, asked every 10 ms. Then two
things are checked of it: a session that saw only this item gets a feed from the model, and the item is found from its
nearest neighbour.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, product
from pathlib import Path
from typing import Any

from benchmarks.freshness import N_USERS, WARM_UP_S
from benchmarks.live import CycleWatch, LiveService
from benchmarks.load import Connection, Load, Samples
from benchmarks.machine import keep, machine
from freshet.client import Client
from stream.replay.rows import ItemRow
from stream.replay.shop.styles import CATEGORIES, STYLES

ITEMS_PER_S = 2.0
POLL_S = 0.01
TIMEOUT_S = 30.0
MOST = 200  # items of an answer
ASKED_P99_MS = 3_000.0


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how soon a new item is recommendable.")
    parser.add_argument("--json", type=Path, required=True, help="result file")
    parser.add_argument("--dir", type=Path, help="folder on the disk to measure; a temporary one by default")
    parser.add_argument("--seconds", type=float, default=60.0, help="measured time (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder, LiveService(Path(folder)) as service:
        keep(measure(service, arguments.seconds), arguments.json)


def measure(service: LiveService, seconds: float) -> dict[str, Any]:
    with Client(service.url) as client:
        users = client.get(f"/v1/users?limit={N_USERS}")["users"]
    rows = [row for row, _ in zip(brand_new(service), range(int(seconds * ITEMS_PER_S)), strict=False)]
    samples = Samples()
    with Load(service.url, service.live_events(), users) as load:
        time.sleep(WARM_UP_S)
        before = machine()
        with CycleWatch(service) as cycles, ThreadPoolExecutor(8) as clients:
            since = time.perf_counter()
            started = [
                clients.submit(follow, service.url, row, samples, since + n / ITEMS_PER_S) for n, row in enumerate(rows)
            ]
            for one in started:
                one.result()
    return {
        "command": "python -m benchmarks.new_items",
        "machine": before,
        "items_per_s": ITEMS_PER_S,
        "asked": {"accepted_to_recommendable_p99_ms": ASKED_P99_MS},
        "figures_ms": samples.report(since),
        "beside_ms": load.samples.report(since),
        "training": cycles.report,
    }


def brand_new(service: LiveService) -> Iterator[ItemRow]:
    """Products that the shop has not; pictures are drawn here, before anything is timed."""
    known = {row.item.item_id for row in service.dataset.items()}
    for n, category, style in ((n, *pair) for n in count() for pair in product(CATEGORIES, STYLES)):
        row = service.dataset.new_item(category, style, n)
        if row.item.item_id not in known:
            yield row


def follow(url: str, row: ItemRow, samples: Samples, due: float) -> None:
    """Put one item when it is due, and ask until it is recommendable."""
    threading.Event().wait(max(0.0, due - time.perf_counter()))
    item_id = row.item.item_id
    connection = Connection(url)
    with Client(url) as client:
        started = time.perf_counter()
        client.put_item(row)
    accepted = time.perf_counter()
    samples.note("put", started, accepted)
    while (reply := connection.ask("GET", f"/v1/items/{item_id}/similar?k=1")).status != 200:
        if reply.ended - accepted > TIMEOUT_S:
            samples.fail(f"{item_id} is not recommendable after {TIMEOUT_S} s")
            return
        time.sleep(POLL_S)
    samples.note("accepted_to_recommendable", accepted, reply.ended)
    for problem in problems(connection, item_id, reply.answer["items"][0]["item_id"]):
        samples.fail(problem)


def problems(connection: Connection, item_id: str, neighbour: str) -> Iterator[str]:
    """What is wrong with an item that should be recommendable."""
    feed = connection.ask("POST", "/v1/feeds", {"items": [item_id], "k": 5}).answer
    if feed["degraded"]:
        yield f"a session with {item_id} has no feed of its own: {feed['degraded']}"
    near = connection.ask("GET", f"/v1/items/{neighbour}/similar?k={MOST}").answer
    if item_id not in [item["item_id"] for item in near["items"]]:
        yield f"{item_id} is not among the {MOST} items nearest to its neighbour {neighbour}"


if __name__ == "__main__":
    main()
