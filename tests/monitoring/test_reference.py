from pathlib import Path

from monitoring.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_documented_metrics_are_the_declared_ones() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference()


def test_a_row_names_type_labels_and_meaning() -> None:
    assert (
        "| `freshet_consumer_lag_records` | gauge | `role`, `topic` | Records a role has still to read of a topic; "
        "no number while it does not read. |" in reference()
    )
