"""Pydantic's validation errors as ours: which event or line, which field, what was wrong, which limit."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

LIMITS = ("max_length", "min_length", "le", "ge", "lt", "gt", "pattern", "expected")
ONE, MANY = "<one event>", "<many events>"  # tags of the two bodies of POST /v1/events; no client's field is so named
MAX_VALUE_SHOWN = 60


@dataclass(frozen=True)
class FieldError:
    """One thing wrong with a request.

    Attributes:
        field: path to it, such as `events[3].user_id`.
        message: what was wrong, with the value shortened.
        limit: the limit passed, if there is one.
        index: which of several events.
        line: which line of an NDJSON body, from 1.
    """

    field: str
    message: str
    limit: float | str | None = None
    index: int | None = None
    line: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Members that apply."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def field_errors(errors: Sequence[Mapping[str, Any]], *, line: int | None = None) -> list[FieldError]:
    """Errors of a pydantic validation, in its order.

    Args:
        errors: what `ValidationError.errors()` gives.
        line: of an NDJSON body.
    """
    return [_field_error(error, line) for error in errors]


def request_errors(errors: Sequence[Mapping[str, Any]]) -> list[FieldError]:
    """Errors of what FastAPI validated: their places begin with the part of the request, and the branch taken."""
    return field_errors([{**error, "loc": _within(error["loc"])} for error in errors])


def _within(loc: Sequence[int | str]) -> Sequence[int | str]:
    """A place in the request without `body`, `path`, `query` and the branch pydantic took.

    >>> _within(("body", ONE, "user_id"))
    ('user_id',)
    """
    inside = loc[1:]
    return inside[1:] if inside and inside[0] in (ONE, MANY) else inside


def _field_error(error: Mapping[str, Any], line: int | None) -> FieldError:
    if error["type"] == "json_invalid" and (error["loc"] or line is not None):
        return FieldError("body", _no_json(error), line=line)
    index = next((part for part in error["loc"] if isinstance(part, int)), None)
    limits = error.get("ctx", {})
    limit = next((limits[name] for name in LIMITS if name in limits), None)
    message = f"{error['msg']}{_shown(error)}"
    return FieldError(_written(error["loc"]), message, limit, index, line)


def _no_json(error: Mapping[str, Any]) -> str:
    """Why and at which character, from 0, a text is no JSON. In pydantic's words there is a column, in bytes.

    >>> _no_json({"loc": (), "ctx": {"error": "expected ident at line 1 column 2"}, "input": b"nonsense"})
    'not JSON at character 1: expected ident'
    """
    reason = error["ctx"]["error"]
    if error["loc"]:
        return f"not JSON at character {error['loc'][-1]}: {reason}"
    words, found, column = reason.rpartition(" at line 1 column ")
    if not found:
        return f"not JSON: {reason}"
    return f"not JSON at character {len(error['input'][: int(column) - 1].decode(errors='replace'))}: {words}"


def _written(path: Sequence[int | str]) -> str:
    """A path as text.

    >>> _written(["events", 3, "user_id"])
    'events[3].user_id'
    """
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{ascii(part)[1:-1][:MAX_VALUE_SHOWN]}"
    return text.lstrip(".") or "body"


def _shown(error: Mapping[str, Any]) -> str:
    value = error.get("input")
    if isinstance(value, str):
        cut = f"{value[:MAX_VALUE_SHOWN]}..." if len(value) > MAX_VALUE_SHOWN else value
        return f"; got {cut!a} ({len(value)} characters)"
    if isinstance(value, bool | int | float) and len(ascii(value)) <= MAX_VALUE_SHOWN:
        return f"; got {value}"
    if isinstance(value, list):
        return f"; got {len(value)} values"
    return ""
