"""One bundle: an immutable folder with everything one model version needs, and the manifest that proves it.

    manifest.json       what it is, what it was made from, and the sha256 of every other file
    model.safetensors   the weights, or what a model without any counted
    items.json          the item ids, in the order of the model's rows
    towers/             the content towers, where the model carries its own

Nothing in a bundle is unpickled: safetensors and JSON only. The trainer writes one (`Registry.publish`), the
ranker, the gate and the watcher read it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from models.durable import sha256_of
from models.registry.kept_blend import KeptBlend

FORMAT = 1
ENCODER_KIND = "m2se"
MANIFEST = "manifest.json"
WEIGHTS = "model.safetensors"
ITEMS = "items.json"
TOWERS = "towers"


class RegistryError(Exception):
    """What can go wrong with model versions.

    RegistryError
    ├── UnknownVersion     no bundle of that name
    ├── DamagedPointer     current.json cannot be read, or names a bundle that is gone
    ├── DamagedBundle      a file is missing, changed, or of another format
    ├── UnknownKind        a bundle of a kind of model that this release does not know
    ├── PromotionPaused    an operator rolled back; the gate may not promote
    ├── NotCurrent         a version was to be rolled back, or replaced by the gate, that is not current
    ├── NothingToRollBack  the pointer knows no previous version
    └── RegistryBusy       another process held the registry's lock past the deadline; retriable
    """


class UnknownVersion(RegistryError):
    """No bundle of that name."""


class DamagedPointer(RegistryError):
    """`current.json` cannot be read, or names a bundle that is gone."""


class DamagedBundle(RegistryError):
    """A file of a bundle is missing, changed, or of another format."""


class UnknownKind(RegistryError):
    """A bundle of a kind of model that this release does not know."""


class PromotionPaused(RegistryError):
    """An operator rolled back, so the gate may not promote."""


class NotCurrent(RegistryError):
    """A version was to be rolled back, or replaced by the gate, that is not current."""


class NothingToRollBack(RegistryError):
    """The pointer knows no previous version."""


class RegistryBusy(RegistryError):
    """Another process held the registry's lock past the deadline; may be retried."""


@dataclass(frozen=True)
class DataSpan:
    """What a model was trained on.

    Attributes:
        segments: file names of the training buffer's segments.
        offsets: next offset of the `events` topic by partition; any event below it may have been trained on.
        n_events: how many events that was.
        log_id: of the log that the offsets are of; empty where it does not say.
    """

    segments: tuple[str, ...] = ()
    offsets: dict[int, int] = field(default_factory=dict)
    n_events: int = 0
    log_id: str = ""

    def on(self, log_id: str) -> DataSpan:
        """What of it lies on this log: nothing where its offsets are of another."""
        return self if self.log_id in ("", log_id) else DataSpan(log_id=log_id)

    def is_within(self, position: dict[int, int]) -> bool:
        """Whether a reader has already passed every event trained on.

        Args:
            position: next offset by partition it holds; partitions it does not hold are not asked.

        >>> DataSpan(offsets={0: 5, 2: 7}).is_within({0: 5, 1: 9})
        True
        >>> DataSpan(offsets={0: 5}).is_within({0: 4, 1: 9})
        False
        """
        return all(offset >= self.offsets.get(partition, 0) for partition, offset in position.items())


@dataclass(frozen=True)
class Manifest:
    """What a bundle is and what it was made from. `version` and `files` are filled in by `Registry.publish`.

    Attributes:
        config: the model's hyper-parameters, as its frozen dataclass wrote them.
        kind: which model it is, such as m2se or sasrec; a manifest that does not say is of the former.
        tower_revisions: content tower revision by modality, such as {"text": ..., "image": ...}.
        metrics: figures by name, as the gate saw them.
        reason: why it was published, one line.
        parent: the version it went on from.
        files: sha256 by path inside the bundle.
        blend: where feeds' blend goes on from beside this model; None where nothing was learned for it.
    """

    created_ms: int
    config: dict[str, Any]
    tower_revisions: dict[str, str]
    data: DataSpan
    seed: int
    code_version: str
    metrics: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    parent: str | None = None
    version: str = ""
    files: dict[str, str] = field(default_factory=dict)
    kind: str = ENCODER_KIND
    blend: KeptBlend | None = None
    format: int = FORMAT

    def to_dict(self) -> dict[str, Any]:
        """Plain values only, as they stand in manifest.json; partition numbers become strings there."""
        return asdict(self)

    def to_json(self) -> bytes:
        """The bytes of manifest.json."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True).encode()

    @classmethod
    def from_json(cls, raw: bytes) -> Manifest:
        """Read manifest.json; fields of a newer writer are ignored.

        Raises:
            ValueError: not a manifest, or one of another format.
        """
        values = json.loads(raw)
        if not isinstance(values, dict):
            raise ValueError(f"expected a JSON object, found {type(values).__name__}")
        if values.get("format") != FORMAT:
            raise ValueError(f"format {values.get('format')!r}, this release reads {FORMAT}")
        known = {f.name: values[f.name] for f in fields(cls) if f.name in values}
        try:
            blend = KeptBlend.of(known["blend"]) if known.get("blend") is not None else None
            return cls(**{**known, "data": _span(known["data"]), "blend": blend})
        except (KeyError, TypeError, AttributeError) as exc:
            raise ValueError(f"field missing or of another type: {exc}") from exc


def _span(values: dict[str, Any]) -> DataSpan:
    return DataSpan(
        segments=tuple(values["segments"]),
        offsets={int(partition): int(offset) for partition, offset in values["offsets"].items()},
        n_events=int(values["n_events"]),
        log_id=str(values.get("log_id", "")),
    )


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose manifest was read."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path) -> Bundle:
        """Read a bundle's manifest and check every file against it.

        Raises:
            DamagedBundle: the manifest or a file is missing, changed, or of another format.
        """
        bundle = cls(path, read_manifest(path))
        bundle.verify()
        return bundle

    @property
    def weights(self) -> Path:
        """The safetensors file."""
        return self.path / WEIGHTS

    @property
    def towers(self) -> Path:
        """The folder of the content towers; may be absent."""
        return self.path / TOWERS

    def item_ids(self) -> tuple[str, ...]:
        """Item ids in the order of the model's rows."""
        return read_item_ids(self.path)

    def verify(self) -> None:
        """Compare every file with the manifest's checksums.

        Raises:
            DamagedBundle: naming the first file that is missing or differs.
        """
        for name, expected in self.manifest.files.items():
            path = self.path / name
            if not path.is_file():
                raise damaged(self.path, f"{name} is missing")
            if sha256_of(path) != expected:
                raise damaged(self.path, f"{name} does not match its checksum")


def read_manifest(path: Path) -> Manifest:
    """The manifest of the bundle folder `path`, files unchecked.

    Raises:
        DamagedBundle: it cannot be read, or is of another format.
    """
    try:
        return Manifest.from_json((path / MANIFEST).read_bytes())
    except (OSError, ValueError) as exc:
        raise damaged(path, f"{MANIFEST}: {exc}") from exc


def write_item_ids(folder: Path, item_ids: Sequence[str]) -> None:
    """Write items.json into a stage."""
    (folder / ITEMS).write_text(json.dumps(list(item_ids), ensure_ascii=False), encoding="utf-8")


def read_item_ids(folder: Path) -> tuple[str, ...]:
    """Read items.json.

    Raises:
        DamagedBundle: it is missing or not a list of strings.
    """
    try:
        values = json.loads((folder / ITEMS).read_bytes())
    except (OSError, ValueError) as exc:
        raise damaged(folder, f"{ITEMS}: {exc}") from exc
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise damaged(folder, f"{ITEMS} is not a list of strings")
    return tuple(values)


def damaged(path: Path, why: str) -> DamagedBundle:
    """The error for a bundle that cannot be used, with the way out."""
    return DamagedBundle(
        f"model bundle {path} is damaged: {why}; promote another one (`freshet models promote VERSION`), "
        f"then delete that folder"
    )
