"""What is told of a fitted model beside its bundle: a card for people, the curve as CSV and JSON.

bundles/v000001-1a2b3c4d/      the bundle
bundles/v000001-1a2b3c4d.md    the card
bundles/v000001-1a2b3c4d.csv   one row an epoch; .json the same
"""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from models.durable import write_durably
from models.evaluation.report import Tally


@dataclass(frozen=True)
class CurvePoint:
    """One epoch.

    Attributes:
        epoch: from 1.
        loss: mean over steps.
        n_targets: positions predicted.
        seconds: of training.
        ndcg_at_10: filtered, of users' last events, which are never trained on; None where it was not asked.
        validation: the same of other events held out of training, by which it is stopped; None where it is not.
    """

    epoch: int
    loss: float
    n_targets: int
    seconds: float
    ndcg_at_10: float | None
    validation: float | None = None


ABOUT = {
    "m2se": "M2SE, a multimodal sequence encoder (Zhang et al., arXiv 2303.11879): it scores a user's next item from "
    "the text, pictures and order of the items before.",
    "popularity": "Popularity: how often each item came in training, the same for everybody.",
    "cooccurrence": "Item co-occurrence (Sarwar et al., WWW 2001): what came close to a user's last items in "
    "everybody's histories.",
    "content-knn": "Content neighbours: what reads and looks like a user's last items; how far back and "
    "how much pictures count is learned.",
    "gru4rec": "GRU4Rec (Hidasi and Karatzoglou, arXiv 1706.03847): a recurrent network over item IDs.",
    "sasrec": "SASRec (Kang and McAuley, arXiv 1808.09781): a Transformer over item IDs.",
    "sasrec-long": "SASRec (Kang and McAuley, arXiv 1808.09781), trained twice as long: a Transformer over item IDs.",
    "sasrec-time-buckets-long": "SASRec (Kang and McAuley, arXiv 1808.09781), trained twice as long: a Transformer "
    "over item IDs and the times between events.",
    "unisrec": "UniSRec, text only (Hou et al., arXiv 2206.05941): a Transformer over the items' texts.",
}


NO_FIGURE = (
    "no NDCG@10: none of the last events of users could be ranked; each is of an item that the user had before, or "
    "lies within the user's first second"
)


def published(version: str, data_dir: Path) -> str:
    """The line a fitting ends with: the version, and the command that makes it current.

    >>> published("v1", Path("my shop"))
    "published v1; `freshet models promote v1 --data-dir 'my shop'` makes it the current model"
    """
    promote = f"freshet models promote {version} --data-dir {shlex.quote(str(data_dir))}"
    return f"published {version}; `{promote}` makes it the current model"


@dataclass(frozen=True)
class ModelCard:
    """What people are told of a version.

    Attributes:
        kind: of model, as in the manifest.
        facts: what a reader asks first, by name.
        config: hyper-parameters by name.
        curve: of the training; empty for a model without epochs.
        ndcg_at_10: filtered, of users' last events; None where none of them could be ranked.
    """

    kind: str
    facts: Mapping[str, str]
    config: Mapping[str, Any]
    curve: Sequence[CurvePoint]
    ndcg_at_10: float | None


def ndcg_at_10(tally: Tally) -> float | None:
    """The figure of a ranking; None where nothing was ranked, as JSON has no NaN."""
    return tally.means()["ndcg_at_10"] if tally.n else None


def write_card(bundle: Path, card: ModelCard) -> None:
    """Put card and curve beside the bundle."""
    write_durably(bundle.with_name(f"{bundle.name}.csv"), _csv(card.curve).encode())
    write_durably(bundle.with_name(f"{bundle.name}.json"), (json.dumps(_rows(card.curve), indent=1) + "\n").encode())
    write_durably(bundle.with_name(f"{bundle.name}.md"), markdown(bundle.name, card).encode())


def markdown(version: str, card: ModelCard) -> str:
    """The card of a version, Markdown."""
    parts = [
        f"# {version}",
        ABOUT[card.kind],
        _table(("what", ""), card.facts.items()),
        _came_to(card),
        "Meant for feeds on the catalogue and the kind of behaviour it was trained on. It learns from what people were "
        "shown and chose, popularity included; what its lists expose says `freshet evaluate`.",
        _table(("setting", "value"), sorted((name, str(value)) for name, value in card.config.items())),
    ]
    if card.curve:
        head = ("epoch", "loss", "targets", "seconds", "NDCG@10", "validation")
        parts.append(_table(head, [_cells(one) for one in card.curve]))
    return "\n\n".join(parts) + "\n"


def _came_to(card: ModelCard) -> str:
    kept = _kept(card.curve)
    after = f"After epoch {kept.epoch}: loss {kept.loss:.4f}, " if kept else ""
    if card.ndcg_at_10 is None:
        told = f"{after}{NO_FIGURE}."
    else:
        told = (
            f"{after}filtered NDCG@10 {card.ndcg_at_10:.4f} over users' last events, ranked among all items and kept "
            "out of training. It says how training went; models are compared by `freshet evaluate`."
        )
    return told[0].upper() + told[1:]


def _kept(curve: Sequence[CurvePoint]) -> CurvePoint | None:
    """The epoch whose weights the version has: the best, the earliest of equals, or the last where none was chosen."""
    chosen = [point for point in curve if point.validation is not None]
    return max(chosen, key=lambda point: point.validation or 0.0) if chosen else next(iter(curve[-1:]), None)


def _cells(one: CurvePoint) -> tuple[str, ...]:
    ndcg, score = ("" if value is None else f"{value:.4f}" for value in (one.ndcg_at_10, one.validation))
    return str(one.epoch), f"{one.loss:.4f}", f"{one.n_targets:,}", f"{one.seconds:.1f}", ndcg, score


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def _rows(curve: Sequence[CurvePoint]) -> list[dict[str, Any]]:
    return [asdict(point) for point in curve]


def _csv(curve: Sequence[CurvePoint]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, [field.name for field in fields(CurvePoint)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(_rows(curve))
    return file.getvalue()
