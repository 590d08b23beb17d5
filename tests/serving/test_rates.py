"""Reading figures back from the metrics."""

from prometheus_client import CollectorRegistry

from monitoring.metrics import Metrics
from serving.rates import EventRate, value_of
from tests.clock import Clock


def test_the_rate_is_events_over_the_last_five_seconds() -> None:
    metrics, clock = Metrics(CollectorRegistry()), Clock()
    rate = EventRate(metrics, clock=clock)
    applied = metrics.events_applied_total.labels(result="applied")
    assert rate.per_s() == 0.0

    rates = []
    for _ in range(10):
        clock.now_s += 1.0
        applied.inc(20)
        rates.append(rate.per_s())
    clock.now_s += 5.0

    assert rates == [20.0] * 10
    assert rate.per_s() == 0.0


def test_a_series_that_does_not_exist_has_no_value() -> None:
    metrics = Metrics(CollectorRegistry())

    assert value_of(metrics.prequential_mrr, source="organic") is None


def test_values_without_labels_are_summed() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.feeds_total.labels(result="model").inc(2)
    metrics.feeds_total.labels(result="no_model").inc(3)

    assert value_of(metrics.feeds_total) == 5.0
    assert value_of(metrics.feeds_total, result="model") == 2.0
