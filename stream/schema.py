"""JSON Schema of every record type, for those who write to the log from other languages.

`python -m stream.schema` writes `stream/schemas/<type>.json`; a contract test keeps them equal to the types.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from stream.events import (
    BlendState,
    DeadLetter,
    Exposure,
    Interaction,
    ItemRemoval,
    ItemUpsert,
    Outcome,
    PartitionCounts,
    Replica,
    TransitionRow,
)

FOLDER = Path(__file__).parent / "schemas"
TYPES: tuple[type[msgspec.Struct], ...] = (
    Interaction,
    ItemUpsert,
    ItemRemoval,
    Exposure,
    Outcome,
    PartitionCounts,
    TransitionRow,
    BlendState,
    Replica,
    DeadLetter,
)


def schemas() -> dict[str, bytes]:
    """Schema files by name, as they are committed."""
    return {f"{_tag(record)}.json": _pretty(_schema(record)) for record in TYPES}


def write(folder: Path = FOLDER) -> None:
    """Write all schema files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in schemas().items():
        (folder / name).write_bytes(content)


def _tag(record: type[msgspec.Struct]) -> str:
    return str(record.__struct_config__.tag)


def _schema(record: type[msgspec.Struct]) -> dict[str, Any]:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(record)}


def _pretty(schema: dict[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(schema, order="sorted"), indent=2) + b"\n"


if __name__ == "__main__":
    write()
