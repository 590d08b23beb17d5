"""A comparison as text: accuracy and what is shown in one table, slices beneath."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Comparison = Mapping[str, Any]
MAIN = "ndcg@10"
COLUMNS = (
    ("Recall@10", "filtered", "recall@10"),
    ("MRR@10", "filtered", "mrr@10"),
    ("unfiltered", "unfiltered", MAIN),
    ("coverage", "lists", "coverage@10"),
    ("novelty", "lists", "novelty@10"),
    ("popularity", "lists", "popularity@10"),
    ("Gini", "lists", "gini@10"),
    ("tail", "lists", "tail_share@10"),
    ("new", "lists", "new_share@10"),
)


def table(comparison: Comparison) -> str:
    """The models by filtered NDCG@10, best first; `unfiltered` is NDCG@10 too."""
    models = ranked_models(comparison)
    head = ["model", "seeds", "NDCG@10 [95 %]", *(title for title, _, _ in COLUMNS)]
    rows = [_row(name, model) for name, model in models]
    blocks = [_aligned([head, *rows])]
    counts = models[0][1]["counts"]  # the same for all models
    if not counts["n"]:
        blocks.append(
            f"no filtered figures: none of {counts['n_dropped']:,} events asked could be ranked, each is of an item "
            f"that the user had before; {counts['n_without_history']:,} more lie within their user's first second"
        )
    names = slice_names(comparison)
    if names:
        sizes = {name: next(m["slices"][name]["counts"]["n"] for _, m in models) for name in names}
        head = ["NDCG@10 by slice", *(f"{name} ({sizes[name]:,})" for name in names)]
        rows = [
            [model, *(_interval(figures["slices"][name]["filtered"]) for name in names)] for model, figures in models
        ]
        blocks.append(_aligned([head, *rows]))
    return "\n\n".join(blocks)


def ranked_models(comparison: Comparison) -> list[tuple[str, Any]]:
    """Names and figures, the best filtered NDCG@10 first."""
    return sorted(comparison["models"].items(), key=lambda pair: -_mean(pair[1]["filtered"], MAIN))


def slice_names(comparison: Comparison) -> list[str]:
    """Slices of which there is a ranked question; the same for all models."""
    first = next(iter(comparison["models"].values()))
    return [name for name, figures in first["slices"].items() if figures["filtered"]]


def _row(name: str, model: Any) -> list[str]:  # noqa: ANN401 - figures as JSON has them
    values = [f"{_mean(model[part], metric):.4f}" if metric in model[part] else "-" for _, part, metric in COLUMNS]
    return [name, str(model["n_seeds"]), _interval(model["filtered"]), *values]


def _interval(figures: Mapping[str, Any]) -> str:
    if MAIN not in figures:
        return "-"
    figure = figures[MAIN]
    return f"{figure['mean']:.4f} [{figure['low']:.4f}, {figure['high']:.4f}]"


def _mean(figures: Mapping[str, Any], metric: str) -> float:
    return float(figures[metric]["mean"]) if metric in figures else float("nan")


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in cells)
        for cells in (enumerate(zip(row, widths, strict=True)) for row in rows)
    )
    return "\n".join(line.rstrip() for line in lines)
