"""A comparison as a picture: filtered NDCG@10 of every model with its interval, over all questions and by slice.

One panel a slice, one row a model in the same order everywhere; a bar is the interval, the stroke in it the mean. Each
panel has a scale of its own that starts at 0.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from freshet.evaluation.table import MAIN, Comparison, ranked_models, slice_names

SCALE = 2  # pixels of the picture by pixel of the layout, for sharp screens
OVERSAMPLING = 2  # drawn larger still, then scaled down: Pillow draws shapes without smoothing
NAMES_WIDTH, PANEL_WIDTH, ROW, TOP, BOTTOM, GAP, MARGIN = 170, 200, 26, 66, 40, 64, 20
PANELS_A_ROW = 4
PAPER, INK, SOFT, LINE = "#ffffff", "#1b1f24", "#66707c", "#dde2e8"
BEST, REST = ("#0b6bcb", "#b9d8f7"), ("#5d6773", "#d5dae0")  # of the stroke and of the bar
BAR_HEIGHT, STROKE_HEIGHT, STROKE = 8, 16, 3
N_TICKS = 3
MAX_NAME = 24  # letters that fit the names' column


class _Row(NamedTuple):
    mean: float
    low: float
    high: float


class _Panel(NamedTuple):
    title: str
    note: str
    rows: list[_Row | None]  # None where a model has no figure


def plot(comparison: Comparison) -> bytes:
    """The picture, PNG."""
    models = ranked_models(comparison)
    panels = [_panel("all", [(m["filtered"], m["counts"]["n"]) for _, m in models])]
    for name in slice_names(comparison):
        parts = [m["slices"][name] for _, m in models]
        panels.append(_panel(name.replace("_", " "), [(p["filtered"], p["counts"]["n"]) for p in parts]))
    n_columns = min(PANELS_A_ROW, len(panels))
    n_lines = -(-len(panels) // n_columns)
    height = TOP + ROW * len(models) + BOTTOM
    page = _Page(2 * MARGIN + NAMES_WIDTH + n_columns * (PANEL_WIDTH + GAP), 2 * MARGIN + 30 + n_lines * height)
    page.text((MARGIN, MARGIN), str(comparison["title"]), size=16)
    for number, panel in enumerate(panels):
        line, column = divmod(number, n_columns)
        top = MARGIN + 30 + line * height
        if column == 0:
            _draw_names(page, [name for name, _ in models], top)
        _draw_panel(page, panel, MARGIN + NAMES_WIDTH + column * (PANEL_WIDTH + GAP), top)
    return page.png()


def _panel(title: str, parts: Sequence[tuple[dict[str, dict[str, float]], int]]) -> _Panel:
    figures = [part.get(MAIN) for part, _ in parts]
    rows = [None if one is None else _Row(one["mean"], one["low"], one["high"]) for one in figures]
    return _Panel(title, f"NDCG@10, {parts[0][1]:,} events", rows)


def _draw_names(page: _Page, names: Sequence[str], top: int) -> None:
    for number, name in enumerate(names):
        short = name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"
        page.text((MARGIN + NAMES_WIDTH - 14, _middle(top, number)), short, anchor="rm")


def _draw_panel(page: _Page, panel: _Panel, left: int, top: int) -> None:
    there = [row for row in panel.rows if row is not None]
    step = _step(max((row.high for row in there), default=0.0))
    width_of_one = PANEL_WIDTH / (step * N_TICKS)
    bottom = top + TOP + ROW * len(panel.rows)
    page.text((left, top + 14), panel.title, size=14)
    page.text((left, top + 34), panel.note, colour=SOFT, size=11)
    for tick in range(N_TICKS + 1):
        x = left + tick * PANEL_WIDTH / N_TICKS
        page.line((x, top + TOP - 6), (x, bottom), LINE)
        page.text((x, bottom + 12), f"{tick * step:.4g}", colour=SOFT, size=11, anchor="mm")
    best = max(there, default=None)
    for number, row in enumerate(panel.rows):
        if row is not None:
            strong, pale = BEST if row == best and row.mean > 0 else REST
            y = _middle(top, number)
            low, mean, high = (left + value * width_of_one for value in (row.low, row.mean, row.high))
            page.line((low, y), (high, y), pale, width=BAR_HEIGHT)
            page.line((mean, y - STROKE_HEIGHT / 2), (mean, y + STROKE_HEIGHT / 2), strong, width=STROKE)
            page.text((max(high, mean) + 8, y), f"{row.mean:.3f}", colour=strong, size=12)


def _middle(top: int, number: int) -> float:
    return top + TOP + ROW * (number + 0.5)


def _step(highest: float) -> float:
    """Distance of two ticks: the smallest round one with which `N_TICKS` of them reach the highest value."""
    power = 1e-3
    while True:
        for factor in (1, 2, 5):
            if N_TICKS * factor * power >= highest:
                return factor * power
        power *= 10


class _Page:
    """A canvas in layout pixels."""

    def __init__(self, width: int, height: int) -> None:
        self._size = (width * SCALE, height * SCALE)
        self._zoom = SCALE * OVERSAMPLING
        self._image = Image.new("RGB", (width * self._zoom, height * self._zoom), PAPER)
        self._draw = ImageDraw.Draw(self._image)

    def text(
        self, at: tuple[float, float], text: str, *, colour: str = INK, size: int = 13, anchor: str = "lm"
    ) -> None:
        font = ImageFont.load_default(size * self._zoom)
        self._draw.text(self._zoomed(at), text, fill=colour, font=font, anchor=anchor)

    def line(self, start: tuple[float, float], end: tuple[float, float], colour: str, *, width: float = 1) -> None:
        self._draw.line([self._zoomed(start), self._zoomed(end)], fill=colour, width=round(width * self._zoom))

    def png(self) -> bytes:
        file = io.BytesIO()
        self._image.resize(self._size, Image.Resampling.LANCZOS).save(file, "PNG", optimize=True)
        return file.getvalue()

    def _zoomed(self, at: tuple[float, float]) -> tuple[float, float]:
        return at[0] * self._zoom, at[1] * self._zoom
