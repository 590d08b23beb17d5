"""What the dashboard shows: freshness first, the promise; then stream, joins, feeds, the model and its quality."""

from dataclasses import dataclass

WINDOW = "$__rate_interval"


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        title: above it.
        unit: Grafana's name of it.
        queries: PromQL and what each line is called.
        kind: a line over time, or a single figure.
        can_be_negative: else it begins at 0.
    """

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    can_be_negative: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width in columns and height."""
        return (4, 4) if self.kind == "stat" else (8, 8)


def rate(metric: str, *by: str, labels: str = "") -> str:
    """Counted a second, summed over processes.

    >>> rate("freshet_feeds_total", "result")
    'sum by (result) (rate(freshet_feeds_total[$__rate_interval]))'
    """
    summed = f"sum by ({', '.join(by)}) " if by else "sum"
    return f"{summed}(rate({metric}{labels}[{WINDOW}]))"


def quantile(share: float, metric: str, *by: str) -> str:
    """A quantile of a histogram, over all processes."""
    return f"histogram_quantile({share:g}, {rate(f'{metric}_bucket', 'le', *by)})"


def quantiles(metric: str, *shares: float) -> tuple[tuple[str, str], ...]:
    """Several quantiles, as lines of one panel."""
    return tuple((quantile(share, metric), f"p{share * 100:g}") for share in shares)


def stat(title: str, unit: str, query: str) -> Panel:
    """A single figure."""
    return Panel(title, unit, ((query, ""),), kind="stat")


def _quality(title: str, metric: str) -> Panel:
    return Panel(title, "none", ((metric, "{{source}}, {{protocol}}"),))


GLANCE = (
    stat("Alerts", "none", 'count(ALERTS{alertstate="firing"}) or vector(0)'),
    stat("Events a second", "none", rate("freshet_events_ingested_total")),
    stat("Feeds a second", "none", rate("freshet_feeds_total")),
    stat("Event to state, p99", "s", quantile(0.99, "freshet_event_to_state_seconds")),
    stat("Model age", "s", 'max(freshet_model_age_seconds{job="api"})'),
    stat("Recall@10", "none", 'max(freshet_prequential_recall_at_10{source="organic", protocol="filtered"})'),
)
FRESHNESS = (
    Panel("Event to state", "s", quantiles("freshet_event_to_state_seconds", 0.5, 0.99)),
    Panel("Age of the newest event when scored", "s", quantiles("freshet_event_age_seconds", 0.1, 0.5, 0.99)),
    Panel("Item to servable", "s", quantiles("freshet_item_to_servable_seconds", 0.5, 0.99)),
    Panel("Age of the newest item vector", "s", (("max by (job) (freshet_item_vector_age_seconds)", "{{job}}"),)),
    Panel("Model age", "s", (('freshet_model_age_seconds{job=~"api|watcher"}', "{{job}} {{instance}}"),)),
    Panel(
        "Lag, records",
        "none",
        (("max by (job, role, topic) (freshet_consumer_lag_records)", "{{job}} {{role}} {{topic}}"),),
    ),
)
STREAM = (
    Panel("Events sent, a second", "none", ((rate("freshet_events_ingested_total", "outcome"), "{{outcome}}"),)),
    Panel("Events applied, a second", "none", ((rate("freshet_events_applied_total", "result"), "{{result}}"),)),
    Panel(
        "Dead letters and restarts",
        "none",
        (
            ("sum by (topic) (freshet_dead_letters_total)", "letters of {{topic}}"),
            ("sum by (job, role) (freshet_role_restarts_total)", "restarts of {{role}}, {{job}}"),
        ),
    ),
    Panel("Age of a role's step", "s", (("max by (job, role) (freshet_role_step_age_seconds)", "{{job}} {{role}}"),)),
    Panel("Event to fast memory", "s", quantiles("freshet_event_to_memory_seconds", 0.5, 0.99)),
    Panel(
        "Fast memory, a second",
        "none",
        (
            (rate("freshet_memory_events_total", "result"), "events {{result}}"),
            (rate("freshet_memory_rows_total", "result"), "rows {{result}}"),
            (rate("freshet_blend_events_total"), "events the blend learned from"),
        ),
    ),
    Panel(
        "Blend: weight by part",
        "none",
        (("freshet_blend_weight", "{{part}}"), ("max(freshet_blend_on)", "on")),
        can_be_negative=True,
    ),
    Panel(
        "Blend: NDCG@10 above the model's",
        "none",
        (("sum(freshet_blend_gain_ndcg_at_10)", "gain"),),
        can_be_negative=True,
    ),
    Panel("Users", "none", (("freshet_users", "{{job}} {{instance}}"),)),
    Panel(
        "Items",
        "none",
        (("freshet_items", "{{job}} {{instance}}"), ("freshet_memory_items", "{{job}} {{instance}}, fast memory")),
    ),
    Panel("Processes that answer", "none", (("sum by (job) (up)", "{{job}}"),)),
)
JOINS = (
    Panel(
        "Worker records, a second",
        "none",
        ((rate("freshet_worker_events_total", "topic", "result"), "{{topic}} {{result}}"),),
    ),
    Panel(
        "Outcomes, a second",
        "none",
        ((rate("freshet_worker_outcomes_total"), "workers"), (rate("freshet_outcomes_total"), "embedded")),
    ),
    Panel("Append to table", "s", quantiles("freshet_worker_event_seconds", 0.5, 0.99)),
    Panel("Worker lag, records", "none", (("sum by (topic) (freshet_worker_lag_records)", "{{topic}}"),)),
    Panel(
        "Partitions held",
        "none",
        (
            ("freshet_worker_partitions", "{{instance}}"),
            ("freshet_worker_recovering", "{{instance}} recovers"),
        ),
    ),
    Panel("Recovery", "s", quantiles("freshet_worker_recovery_seconds", 0.5, 0.99)),
    Panel(
        "Users with open windows",
        "none",
        (("sum(freshet_window_users)", "embedded"), ("sum(freshet_worker_closing_users)", "workers, closing")),
    ),
    Panel(
        "Too late for a window, a second",
        "none",
        ((rate("freshet_windows_late_total", "topic"), "{{topic}}, embedded"),),
    ),
    Panel("Damaged users in tables", "none", (("sum(freshet_worker_damaged_total)", "users"),)),
    Panel("Beyond what is kept of a user, a second", "none", ((rate("freshet_worker_dropped_total"), "workers"),)),
)
FEEDS = (
    Panel("Feeds by what answered, a second", "none", ((rate("freshet_feeds_total", "result"), "{{result}}"),)),
    Panel("Making a feed", "s", quantiles("freshet_feed_seconds", 0.5, 0.99)),
    Panel("Feeds in a batch", "none", quantiles("freshet_feed_batch_requests", 0.5, 0.99)),
    Panel("Requests, p99 by route", "s", ((quantile(0.99, "freshet_http_request_seconds", "route"), "{{route}}"),)),
    Panel(
        "Refusals, a second",
        "none",
        (
            (
                rate("freshet_http_request_seconds_count", "route", "status", labels='{status=~"[45].."}'),
                "{{status}} {{route}}",
            ),
        ),
    ),
    Panel(
        "In flight, and exposures a second",
        "none",
        (
            ("sum(freshet_http_in_flight_requests)", "in flight"),
            (rate("freshet_exposures_total", "result"), "exposures {{result}}"),
        ),
    ),
)
MODEL = (
    Panel("Version that answers", "none", (("count by (version) (freshet_model_info)", "{{version}}"),)),
    Panel("Cycles", "none", (("sum by (result) (freshet_cycles_total)", "{{result}}"),)),
    Panel("Learning that failed", "none", (("freshet_learning_failed", "{{job}} {{instance}}"),)),
    Panel("Seconds of a cycle", "s", quantiles("freshet_cycle_seconds", 0.5, 0.99)),
    Panel("Swaps", "none", (("sum by (job) (freshet_model_swaps_total)", "{{job}}"),)),
    Panel("Interactions in the training buffer", "none", (("max(freshet_training_rows)", "rows"),)),
)
QUALITY = (
    _quality("Recall@10", "freshet_prequential_recall_at_10"),
    _quality("NDCG@10", "freshet_prequential_ndcg_at_10"),
    _quality("MRR", "freshet_prequential_mrr"),
    Panel(
        "Events predicted before they were applied, a second",
        "none",
        (
            (rate("freshet_prequential_events_total"), "predicted"),
            (rate("freshet_prequential_unscored_total"), "no model could"),
        ),
    ),
    Panel("Share of users that is predicted", "percentunit", (("max(freshet_prequential_share_ratio)", "share"),)),
)
ROWS = {
    "At a glance": GLANCE,
    "Freshness": FRESHNESS,
    "Stream": STREAM,
    "Joins and windows": JOINS,
    "Feeds": FEEDS,
    "Model": MODEL,
    "Quality, before the event is applied": QUALITY,
}
