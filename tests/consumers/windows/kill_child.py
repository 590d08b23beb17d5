"""A process to be killed: publishes traffic, says what was acknowledged, and publishes outcomes.

python -m tests.consumers.windows.kill_child FOLDER FIRST
"""

import sys
from pathlib import Path

from tests.consumers.store_support import open_log
from tests.consumers.windows.windows_support import all_read, new_windows, publish, running, some_traffic
from tests.waiting import wait_until

N_FEEDS = 1_500
BATCH = 20


def main(folder: Path, first: int) -> None:
    records = some_traffic(n_feeds=N_FEEDS)
    with open_log(folder) as log:
        windows = new_windows(log, folder, snapshot_s=0.03)
        with running(log, windows, max_records=23):
            for start in range(first, len(records), BATCH):
                publish(log, records[start : start + BATCH])
                sys.stdout.write(f"acknowledged {start + BATCH}\n")
                sys.stdout.flush()
            wait_until(lambda: all_read(log, windows), "all read")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
