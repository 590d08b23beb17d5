"""What a process keeps of the memory it freed."""

import sys
from pathlib import Path

import numpy as np
import pytest

from models.device import give_back_freed

N_ARRAYS, N_NUMBERS = 2_000, 8_192  # 64 KiB each, 131 MB in all


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_freed_between_pieces_in_use_goes_back_to_the_system() -> None:
    arrays = [np.ones(N_NUMBERS) for _ in range(N_ARRAYS)]
    in_use = arrays[::100]
    del arrays
    before = resident_bytes()

    give_back_freed()

    assert before - resident_bytes() > 100e6
    assert [float(one[0]) for one in in_use] == [1.0] * 20


def resident_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
