"""MovieLens in GroupLens's own layout: `ratings.dat` and `movies.dat`, optionally `plots.csv` and `posters/`.

F. M. Harper and J. A. Konstan (2015), The MovieLens Datasets: History and Context, ACM TiiS 5(4):19. Four and
five stars are what a person liked; fewer stars become the kind `dislike`, which enters no sequence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from stream.events import Interaction
from stream.replay.history import History
from stream.replay.rows import BadValue, DatasetError, ItemRow, Reading
from stream.replay.tables import Table
from stream.replay.values import checked_item, text_of, ts_ms_of

RATINGS, MOVIES, PLOTS, POSTERS = "ratings.dat", "movies.dat", "plots.csv", "posters"
LIKED_STARS = 4.0
MAX_STARS = 5.0

_TITLE = re.compile(r"(?P<title>.+?)\s*\((?P<year>\d{4})\)")
_ARTICLE = re.compile(r"(?P<rest>.+), (?P<article>The|A|An)")


class _Plot(NamedTuple):
    text: str
    source: str
    line: int


_NO_PLOT = _Plot("", "", 0)


class MovieLens:
    """The files of one folder; read when asked for, ratings are kept in memory."""

    def __init__(self, root: Path, reading: Reading) -> None:
        """The data set in `root`.

        Raises:
            UnknownKind: `like` or `dislike` is not among the kinds.
        """
        for kind in ("like", "dislike"):
            reading.kinds.get(kind)
        self.name = reading.name
        self.bad_rows = reading.bad_rows
        self._root = root
        self._seed = reading.seed

    def items(self) -> Iterator[ItemRow]:
        """Movies in the order of their file; none says when it arrived."""
        plots = self._plots()
        first_line: dict[str, int] = {}
        for line, text in _lines(self._root / MOVIES, "utf-8", "iso-8859-1"):
            try:
                row = self._movie(text, plots)
                _check_new(row.item.item_id, line, first_line)
            except BadValue as problem:
                self.bad_rows.report(MOVIES, line, problem=problem)
            else:
                yield row
        self._report_plots_without_movie(plots, first_line)

    def interactions(self) -> Iterator[Interaction]:
        """Ratings as events of kind `like` or `dislike`, in the order of time."""
        return iter(self._history)

    @cached_property
    def _history(self) -> History:
        history = History(self.name, seed=self._seed)
        for line, text in _lines(self._root / RATINGS, "iso-8859-1"):
            try:
                user, movie, kind, ts_ms = _rating(text)
                history.add(user, movie, ts_ms=ts_ms, kind=kind, row=line)
            except BadValue as problem:
                self.bad_rows.report(RATINGS, line, problem=problem)
        return history

    def _movie(self, text: str, plots: dict[str, _Plot]) -> ItemRow:
        movie, full_title, genres = _fields(text, 3)
        _check_whole_numbers(movie)
        title, year = _title_and_year(full_title)
        plot = plots.get(movie, _NO_PLOT)
        attributes = {"genres": genres.replace("|", ", "), "year": year, "plot_source": plot.source}
        fields = {
            "item_id": movie,
            "ts_ms": 0,
            "title": title,
            "text": " ".join(part for part in (plot.text, _genre_sentence(year, genres)) if part),
            "attributes": {name: value for name, value in attributes.items() if value},
        }
        poster = self._root / POSTERS / f"{movie}.jpg"
        return ItemRow(checked_item(fields), poster if poster.is_file() else None)

    def _plots(self) -> dict[str, _Plot]:
        plots: dict[str, _Plot] = {}
        path = self._root / PLOTS
        if not path.is_file():
            return plots
        first_line: dict[str, int] = {}
        table = Table(path, ("movie_id", "plot"), self.bad_rows)
        for row in table:
            movie = row.values["movie_id"].strip()
            try:
                _check_whole_numbers(movie)
                _check_new(movie, row.line, first_line)
            except BadValue as problem:
                table.report(row.line, problem)
            else:
                text = " ".join(row.values["plot"].split())
                plots[movie] = _Plot(text, text_of(row.values.get("source"), "source"), row.line)
        return plots

    def _report_plots_without_movie(self, plots: dict[str, _Plot], movies: dict[str, int]) -> None:
        for movie, plot in plots.items():
            if movie not in movies:
                problem = BadValue("plot without movie", f"movie_id {movie} is not in {MOVIES}")
                self.bad_rows.report(PLOTS, plot.line, problem=problem)


def _lines(path: Path, *encodings: str) -> Iterator[tuple[int, str]]:
    """Numbered lines that are not blank, in the first encoding that reads the whole file."""
    try:
        encoding = encodings[-1] if len(encodings) == 1 else _fitting(path.read_bytes(), encodings)
        with path.open(encoding=encoding) as file:
            for line, text in enumerate(file, 1):
                if text.strip():
                    yield line, text.rstrip("\n")
    except OSError as exc:
        raise DatasetError(f"{path} cannot be read: {exc}") from exc


def _fitting(raw: bytes, encodings: tuple[str, ...]) -> str:
    for encoding in encodings[:-1]:
        try:
            raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    return encodings[-1]


def _fields(text: str, n_fields: int) -> list[str]:
    fields = text.split("::")
    if len(fields) != n_fields:
        raise BadValue("wrong column count", f"{len(fields)} columns between '::', expected {n_fields}")
    return fields


def _rating(text: str) -> tuple[str, str, str, int]:
    """User, movie, kind and ts_ms of one line of ratings."""
    user, movie, stars, timestamp = _fields(text, 4)
    _check_whole_numbers(user, movie)
    return user, movie, _kind(stars), ts_ms_of(timestamp)


def _kind(stars: str) -> str:
    try:
        number = float(stars)
    except ValueError:
        number = -1.0
    if not 0 < number <= MAX_STARS:
        raise BadValue("bad rating", f"{stars!r}; it must be above 0 and at most {MAX_STARS:g}")
    return "like" if number >= LIKED_STARS else "dislike"


def _check_whole_numbers(*ids: str) -> None:
    for value in ids:
        if not (value.isascii() and value.isdecimal()):
            raise BadValue("bad id", f"{value[:80]!r} is not a whole number")


def _check_new(item_id: str, line: int, first_line: dict[str, int]) -> None:
    first = first_line.setdefault(item_id, line)
    if first != line:
        raise BadValue("duplicate item", f"item_id {item_id} is already in line {first}; the first one counts")


def _title_and_year(text: str) -> tuple[str, str]:
    """Title in reading order, and year.

    >>> _title_and_year("American President, The (1995)")
    ('The American President', '1995')
    """
    match = _TITLE.fullmatch(text.strip())
    title, year = (match["title"], match["year"]) if match else (text.strip(), "")
    article = _ARTICLE.fullmatch(title)
    return (f"{article['article']} {article['rest']}" if article else title), year


def _genre_sentence(year: str, genres: str) -> str:
    """What is known of every movie, as a sentence.

    >>> _genre_sentence("1995", "Animation|Comedy")
    'A movie of 1995; genres: Animation, Comedy.'
    """
    known = "A movie of " + year if year else "A movie"
    return f"{known}; genres: {genres.replace('|', ', ')}." if genres else f"{known}."
