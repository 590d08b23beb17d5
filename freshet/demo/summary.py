"""The demo's figures: one JSON summary, the closing table, and what `--check` asks of them."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from consumers.learning.cycle_events import CycleEvent
from freshet.demo.probe import FeedProbe, FreshnessProbe

Summary = dict[str, Any]

MIN_CYCLES = 2
MAX_NEW_ITEM_S = 10.0


def probes(feeds: FeedProbe, freshness: FreshnessProbe) -> Summary:
    """What was seen from outside."""
    return {
        "feeds": {
            "n_requests": feeds.n_requests,
            "n_failed": feeds.n_failed,
            "failures": feeds.failures,
            "by_version": dict(feeds.by_version),
            "p50_ms": _percentile_ms(feeds.latencies_s, 50),
            "p99_ms": _percentile_ms(feeds.latencies_s, 99),
        },
        "event_to_feed": {
            "n": len(freshness.accepted_to_feed_s),
            "n_stale": freshness.n_stale,
            "p50_ms": _percentile_ms(freshness.accepted_to_feed_s, 50),
            "p99_ms": _percentile_ms(freshness.accepted_to_feed_s, 99),
        },
    }


def _percentile_ms(seconds: Sequence[float], q: float) -> float | None:
    """A percentile in milliseconds; None without measurements, as JSON knows no NaN."""
    return float(np.percentile(seconds, q) * 1_000) if seconds else None


def cycle_rows(cycles: list[CycleEvent]) -> list[Summary]:
    """Every ended cycle; number 1 is the first training."""
    return [
        {
            "cycle": event.cycle,
            "result": event.state,
            "reason": event.detail,
            "version": event.version,
            "seconds": round(event.seconds, 1),
            "n_events": event.n_events,
            "metrics": event.metrics,
        }
        for event in cycles
    ]


def checks(summary: Summary) -> dict[str, bool]:
    """Each promise and whether it held."""
    later = [cycle for cycle in summary["cycles"] if cycle["cycle"] > 1]
    ended = [cycle for cycle in later if cycle["result"] in ("published", "refused") and cycle["reason"]]
    new_item, feeds, fresh = summary["new_item"], summary["feeds"], summary["event_to_feed"]
    return {
        "events streamed in and were all applied": summary["stream"]["n_live"] > 0 and summary["stream"]["lag"] == 0,
        "a feed changed because of an event": summary["feed_change"]["is_changed"]
        and not summary["feed_change"]["is_stale"],
        "every feed asked for right after an event reflected it": fresh["n"] > 0 and fresh["n_stale"] == 0,
        f"a new item was recommendable within {MAX_NEW_ITEM_S:.0f} s": new_item["recommendable_s"] is not None
        and new_item["recommendable_s"] <= MAX_NEW_ITEM_S,
        "the new item was in somebody's feed": new_item["place"] is not None,
        f"{MIN_CYCLES} or more cycles ended in a published or refused model, with the reason": len(ended) >= MIN_CYCLES,
        "models were swapped under constant requests": len(set(feeds["by_version"]) - {"none"}) > 1,
        "no request failed": feeds["n_failed"] == 0,
        "events were predicted before they were applied": summary["prequential"]["organic"]["model"]["filtered"]["n"]
        > 0,
    }


def closing_table(summary: Summary) -> list[tuple[str, str]]:
    """The figures a person wants at the end."""
    stream, feeds, fresh = summary["stream"], summary["feeds"], summary["event_to_feed"]
    results = Counter(cycle["result"] for cycle in summary["cycles"])
    failed = f", {results['failed']} failed" if results["failed"] else ""
    new_item = summary["new_item"]["recommendable_s"]
    rows = [
        ("events streamed live", f"{stream['n_live']:,} in {stream['live_s']:.0f} s, {stream['n_users']:,} users"),
        (
            "event accepted -> feed reflects it",
            f"p50 {_ms(fresh['p50_ms'])}, p99 {_ms(fresh['p99_ms'])}, {fresh['n_stale']} did not",
        ),
        ("new item -> recommendable", f"{new_item:.2f} s" if new_item is not None else "never"),
        ("training runs", f"{results['published']} published, {results['refused']} refused{failed}"),
        ("model swaps", f"{summary['models']['n_swaps']}, {summary['models']['current']} answers"),
        (
            "feed requests meanwhile",
            f"{feeds['n_requests']:,}, {feeds['n_failed']} failed, p99 {_ms(feeds['p99_ms'])}",
        ),
    ]
    return rows + _quality_rows(summary["prequential"]["organic"]) + _blend_rows(summary["blend"])


def _ms(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.1f} ms"


def _quality_rows(organic: Summary) -> list[tuple[str, str]]:
    """Prequential quality of the model and the rivals on the same events."""
    n = organic["model"]["filtered"]["n"]
    rows = [("predicted before applied", f"{n:,} events")]
    names = [name for name in ("model", "cooccurrence", "popularity") if name in organic]
    return rows + [_figures(name, organic[name]) for name in names if n]


def _blend_rows(blend: Summary | None) -> list[tuple[str, str]]:
    """Feeds as they were blended, and what they are blended of, on the events that the weights were learned from."""
    if blend is None or not blend["feed"]["filtered"]["n"]:
        return []
    gain = blend["model"]["feed_gains"]["ndcg_at_10"]
    return [
        ("before the blend learned them", f"{blend['feed']['filtered']['n']:,} events"),
        _figures("feeds", blend["feed"]),
        _figures("model alone", blend["model"]),
        _figures("fast memory alone", blend["memory"]),
        ("  feeds above the model, NDCG@10", f"{gain['mean']:+.4f} ({gain['low']:+.4f} to {gain['high']:+.4f})"),
    ]


def _figures(name: str, report: Summary) -> tuple[str, str]:
    filtered, unfiltered = report["filtered"], report["unfiltered"]
    return (
        f"  {name}, Recall@10 / NDCG@10",
        f"{filtered['recall_at_10']:.3f} / {filtered['ndcg_at_10']:.3f}"
        f"   (unfiltered {unfiltered['recall_at_10']:.3f} / {unfiltered['ndcg_at_10']:.3f})",
    )
