"""Writes the table of docs/reliability.md from the figures that the last runs of the tests kept.

Command   python -m tests.kafka.faults.report
"""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
KEPT = ROOT / "build" / "faults"  # by the tests, a file a fault
RESULTS = ROOT / "benchmarks" / "results" / "faults.json"
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"
HEAD = (
    "| fault | seconds to recover | sent | acknowledged | applied | lost | duplicated | on the log twice "
    "| outcomes | repeats | feeds | stale | failed |\n"
    f"|---|{'---:|' * 12}\n"
)
Figures = dict[str, Any]


def main() -> int:
    """Take over what the tests kept.

    Returns:
        Exit status; 1 when there is nothing.
    """
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(KEPT.glob("*.json"))]
    if not found:
        sys.stderr.write(f"no figures in {KEPT}; run pytest tests/kafka/faults first\n")
        return 1
    RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + table(found) + END + after, encoding="utf-8")
    return 0


def table(found: list[Figures]) -> str:
    """The faults, a row each, and what they were measured on."""
    rows = "".join(_row(figures) for figures in found)
    return f"{HEAD}{rows}\n{_machine(found)}\n"


def _row(figures: Figures) -> str:
    seconds = ", ".join(f"{seconds:.1f}" for seconds in figures["recovered_s"])
    names = ("n_sent", "n_acknowledged", "n_applied", "n_lost", "n_duplicated", "n_repeated")
    names += ("n_outcomes", "n_repeated_outcomes", "n_feeds", "n_feeds_stale", "n_feeds_failed")
    numbers = ["-" if figures[name] is None else f"{figures[name]:,}" for name in names]
    return f"| {' | '.join([figures['fault'], seconds, *numbers])} |\n"


def _machine(found: list[Figures]) -> str:
    machines = [figures["machine"] for figures in found]
    cpus = "/".join(sorted({str(machine["cpus"]) for machine in machines}))
    pythons = ", ".join(sorted({machine["python"] for machine in machines}))
    dates = sorted({machine["date"] for machine in machines})
    loads = [machine["load_1_min"] for machine in machines]
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    return (
        f"{cpus} CPU cores shared by the brokers, all processes and the test; {machines[0]['platform']}; "
        f"Python {pythons}; {when}. Load (1 min) when a test had ended: {min(loads)} to {max(loads)}."
    )


if __name__ == "__main__":
    sys.exit(main())
