"""What may change between two versions of a record's schema, so that processes of both can read one log.

Fields with a default may be added; everything else breaks one of the two: a removed, renamed or newly required field,
a narrower value (new readers refuse what old ones wrote) and a wider one (old readers refuse what new ones write).
"""

from typing import Any

Limits = dict[str, Any]
Kinds = dict[str, Limits]  # limits by JSON type: a value may be any of them

_TEXTS = ("title", "description", "default")
_UPPER, _LOWER = ("maxLength", "maximum", "maxItems", "maxProperties"), ("minLength", "minimum", "minItems")


def breaks(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Why processes of the two versions cannot read one log; empty when they can."""
    return _compare(_kinds(old, old), _kinds(new, new), "$")


def _compare(old: Kinds, new: Kinds, path: str) -> list[str]:
    found = [f"{path} narrows: {kind} is refused" for kind in sorted(old.keys() - new.keys())]
    found += [f"{path} widens: {kind} is new" for kind in sorted(new.keys() - old.keys())]
    for kind in sorted(old.keys() & new.keys()):
        found += _compare_limits(old[kind], new[kind], path)
    return found


def _compare_limits(old: Limits, new: Limits, path: str) -> list[str]:
    found = _compare_fields(old, new, path)
    for place, inside in (("items", "[]"), ("additionalProperties", "{}")):
        found += _compare(old.get(place, {}), new.get(place, {}), path + inside)
    for limit in sorted((old.keys() | new.keys()) & {*_UPPER, *_LOWER}):
        before, after = _bound(old, limit), _bound(new, limit)
        if before != after:
            narrows = (after < before) == (limit in _UPPER)
            found.append(f"{path} {'narrows' if narrows else 'widens'}: {limit} {old.get(limit)} -> {new.get(limit)}")
    if old.get("enum") != new.get("enum"):
        found.append(f"{path} changes its values: {old.get('enum')} -> {new.get('enum')}")
    if len(old.get("prefixItems", [])) != len(new.get("prefixItems", [])):
        found.append(f"{path} changes its length")
    for n, (before, after) in enumerate(zip(old.get("prefixItems", []), new.get("prefixItems", []), strict=False)):
        found += _compare(before, after, f"{path}[{n}]")
    return found


def _compare_fields(old: Limits, new: Limits, path: str) -> list[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    found = [f"{path}.{name} was removed or renamed" for name in sorted(before.keys() - after.keys())]
    for name in sorted(new.get("required", set()) - old.get("required", set())):
        found.append(f"{path}.{name} becomes required")
    for name in sorted((old.get("required", set()) - new.get("required", set())) & after.keys()):
        found.append(f"{path}.{name} may be absent, and old readers require it")
    for name in sorted(before.keys() & after.keys()):
        found += _compare(before[name], after[name], f"{path}.{name}")
    return found


def _bound(limits: Limits, limit: str) -> float:
    return float(limits.get(limit, "inf" if limit in _UPPER else "-inf"))


def _kinds(schema: Any, root: dict[str, Any]) -> Kinds:
    """A schema with references resolved, as limits by type."""
    if not isinstance(schema, dict):
        return {}
    if "$ref" in schema:
        return _kinds(root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root)
    if "anyOf" in schema:
        return {kind: limits for option in schema["anyOf"] for kind, limits in _kinds(option, root).items()}
    limits = {name: value for name, value in schema.items() if name not in (*_TEXTS, "type", "$defs", "$schema")}
    limits["required"] = set(limits.get("required", ()))
    limits["properties"] = {name: _kinds(inside, root) for name, inside in limits.get("properties", {}).items()}
    limits["prefixItems"] = [_kinds(inside, root) for inside in limits.get("prefixItems", ())]
    for place in ("items", "additionalProperties"):
        if place in limits:
            limits[place] = _kinds(limits[place], root)
    return {schema.get("type", "enum"): limits}
