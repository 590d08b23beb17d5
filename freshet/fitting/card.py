"""What is told of a fitted model beside its bundle: a card for people, the curve as CSV and JSON.

bundles/v000001-1a2b3c4d/      the bundle
bundles/v000001-1a2b3c4d.md    the card
bundles/v000001-1a2b3c4d.csv   one row an epoch; .json the same
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from models.durable import write_durably


@dataclass(frozen=True)
class CurvePoint:
    """One epoch.

    Attributes:
        epoch: from 1.
        loss: mean over steps.
        n_targets: positions predicted.
        seconds: of training.
        ndcg_at_10: filtered, of users' last events, which are never trained on.
    """

    epoch: int
    loss: float
    n_targets: int
    seconds: float
    ndcg_at_10: float


def write_card(bundle: Path, card: str, curve: Sequence[CurvePoint]) -> None:
    """Put card and curve beside the bundle."""
    write_durably(bundle.with_name(f"{bundle.name}.csv"), _csv(curve).encode())
    write_durably(bundle.with_name(f"{bundle.name}.json"), (json.dumps(_rows(curve), indent=1) + "\n").encode())
    write_durably(bundle.with_name(f"{bundle.name}.md"), card.encode())


def model_card(
    version: str, *, facts: Mapping[str, str], config: Mapping[str, Any], curve: Sequence[CurvePoint]
) -> str:
    """The card, Markdown.

    Args:
        version: of the bundle.
        facts: what a reader asks first, by name.
        config: hyper-parameters by name.
        curve: of the training, at least one epoch.
    """
    last = curve[-1]
    epochs = [
        (str(one.epoch), f"{one.loss:.4f}", f"{one.n_targets:,}", f"{one.seconds:.1f}", f"{one.ndcg_at_10:.4f}")
        for one in curve
    ]
    parts = [
        f"# {version}",
        "M2SE, a multimodal sequence encoder (Zhang et al., arXiv 2303.11879): it scores a user's next item from the "
        "text, pictures and order of the items before.",
        _table(("what", ""), facts.items()),
        f"After epoch {last.epoch}: loss {last.loss:.4f}, filtered NDCG@10 {last.ndcg_at_10:.4f} over users' last "
        "events, ranked among all items and kept out of training. It says how training went; models are compared by "
        "`freshet evaluate`.",
        "Meant for feeds on the catalogue and the kind of behaviour it was trained on. It learns from what people were "
        "shown and chose, popularity included; what its lists expose says `freshet evaluate`.",
        _table(("setting", "value"), sorted((name, str(value)) for name, value in config.items())),
        _table(("epoch", "loss", "targets", "seconds", "NDCG@10"), epochs),
    ]
    return "\n\n".join(parts) + "\n"


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
