"""What a scrape reads: names, labels and units of the metrics."""

import math
import re

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from monitoring.metrics import Metrics


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry)


def test_every_name_starts_with_freshet_and_every_metric_has_a_help_text(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    for family in registry.collect():
        assert re.fullmatch(r"freshet_[a-z0-9_]+", family.name)
        assert family.documentation.endswith(".")


def test_no_label_can_carry_a_user_or_an_item(metrics: Metrics) -> None:
    allowed = {
        "route",
        "method",
        "status",
        "outcome",
        "result",
        "role",
        "topic",
        "version",
        "source",
        "protocol",
        "part",
    }
    for metric in vars(metrics).values():
        assert set(getattr(metric, "_labelnames", ())) <= allowed


def test_a_counted_feed_shows_in_the_scrape(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.feeds_total.labels(result="model").inc()
    metrics.feeds_total.labels(result="unknown_user").inc(2)

    text = generate_latest(registry).decode()

    assert 'freshet_feeds_total{result="model"} 1.0' in text
    assert 'freshet_feeds_total{result="unknown_user"} 2.0' in text


def test_the_promise_of_50_ms_from_event_to_state_is_a_bucket_of_its_own(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    metrics.event_to_state_seconds.observe(0.049)
    metrics.event_to_state_seconds.observe(0.051)

    assert registry.get_sample_value("freshet_event_to_state_seconds_bucket", {"le": "0.05"}) == 1.0


def test_only_the_version_that_answers_now_is_shown(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.show_model("v1")
    metrics.show_model("v2")

    assert registry.get_sample_value("freshet_model_info", {"version": "v1"}) is None
    assert registry.get_sample_value("freshet_model_info", {"version": "v2"}) == 1.0


def test_before_the_first_model_its_age_is_no_number(metrics: Metrics, registry: CollectorRegistry) -> None:
    age_s = registry.get_sample_value("freshet_model_age_seconds")

    assert age_s is not None
    assert math.isnan(age_s)


def test_showing_no_model_leaves_no_series(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.show_model("v1")
    metrics.show_model(None)
    metrics.show_model(None)

    assert registry.get_sample_value("freshet_model_info", {"version": "v1"}) is None


def test_a_cycle_that_failed_is_counted_and_not_taken_for_one_of_no_time(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    metrics.count_cycle("failed", 0.0)
    metrics.count_cycle("refused", 20.0)

    assert registry.get_sample_value("freshet_cycles_total", {"result": "failed"}) == 1.0
    assert registry.get_sample_value("freshet_cycle_seconds_count") == 1.0
    assert registry.get_sample_value("freshet_cycle_seconds_sum") == 20.0


def test_two_sets_of_metrics_on_one_registry_are_refused(metrics: Metrics, registry: CollectorRegistry) -> None:
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        Metrics(registry)
