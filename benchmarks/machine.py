"""What a figure was measured on, and how it is written down."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np


def machine() -> dict[str, object]:
    """Cores, system, Python and the load before measuring."""
    return {
        "cpus": os.cpu_count(),
        "load_1_min": round(os.getloadavg()[0], 2),
        "platform": platform.platform(),
        "python": sys.version.split()[0],
        "date": datetime.now(UTC).date().isoformat(),
    }


def milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    """How many, and their percentiles in milliseconds."""
    if not seconds:
        return {"n": 0}
    p50, p90, p99, most = np.percentile(seconds, [50, 90, 99, 100]) * 1_000
    return {"n": len(seconds), "p50": _ms(p50), "p90": _ms(p90), "p99": _ms(p99), "max": _ms(most)}


def keep(result: dict[str, Any], path: Path) -> None:
    """Write a result down and print it."""
    text = json.dumps(result, indent=2)
    path.write_text(text + "\n", encoding="utf-8")
    print(text)


def _ms(value: float) -> float:
    return round(float(value), 2)
