"""`python -m monitoring.reference` prints docs/metrics.md from the declarations, so that the two cannot differ."""

import sys

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from monitoring.metrics import Metrics
from stream.workers.metrics import WorkerMetrics

INTRODUCTION = """# Metrics

Scraped at `/metrics`. Names carry their unit; counters end in `_total`; labels come from small closed sets, never a
user or an item. This page is made by `python -m monitoring.reference`.

"""
WORKERS = """
## Of the workers on Kafka

"""
HEADER = """| metric | type | labels | meaning |
|---|---|---|---|
"""


def reference() -> str:
    """The page: one row a metric, in the order of declaration."""
    return INTRODUCTION + _table(Metrics(CollectorRegistry())) + WORKERS + _table(WorkerMetrics())


def _table(declared: Metrics | WorkerMetrics) -> str:
    metrics = [metric for metric in vars(declared).values() if isinstance(metric, MetricWrapperBase)]
    return HEADER + "".join(f"{_row(metric)}\n" for metric in metrics)


def _row(metric: MetricWrapperBase) -> str:
    family = next(iter(metric.describe()))
    name = f"{family.name}_total" if family.type == "counter" else family.name
    labels = ", ".join(f"`{label}`" for label in metric._labelnames) or "-"
    return f"| `{name}` | {family.type} | {labels} | {family.documentation} |"


if __name__ == "__main__":
    sys.stdout.write(reference())
