"""The patch forms of the Kubernetes API, as far as the twin's clients need them."""

from __future__ import annotations

import copy
from typing import Any, Final

_MERGE_KEYS: Final = ("name", "containerPort", "mountPath", "key", "uid", "type", "topologyKey", "ip")


def json_merge(target: Any, patch: Any) -> Any:
    """RFC 7386: ``None`` deletes, lists are replaced."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = json_merge(result.get(key), value)
    return result


def strategic_merge(target: Any, patch: Any) -> Any:
    """Kubernetes' strategic merge. Lists of named things are merged by their key, other lists are replaced."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    if patch.get("$patch") == "replace":
        return {k: copy.deepcopy(v) for k, v in patch.items() if k != "$patch"}
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            result.pop(key, None)
        elif isinstance(value, list) and (merge_key := _merge_key(value)) is not None:
            result[key] = _merge_list(result.get(key) or [], value, merge_key)
        else:
            result[key] = strategic_merge(result.get(key), value)
    return result


def _merge_key(values: list[Any]) -> str | None:
    dicts = [v for v in values if isinstance(v, dict)]
    if not dicts or len(dicts) != len(values):
        return None
    return next((key for key in _MERGE_KEYS if all(key in v for v in dicts)), None)


def _merge_list(target: list[Any], patch: list[dict[str, Any]], merge_key: str) -> list[Any]:
    result = list(target)
    for item in patch:
        same = [i for i, old in enumerate(result) if isinstance(old, dict) and old.get(merge_key) == item[merge_key]]
        if item.get("$patch") == "delete":
            result = [old for i, old in enumerate(result) if i not in same]
        elif same:
            result[same[0]] = strategic_merge(result[same[0]], item)
        else:
            result.append(strategic_merge({}, item))
    return result


def apply(live: dict[str, Any], previous: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Server-side apply for one manager: what it ``previous``ly applied and wants no longer goes, the rest is merged.

    Lists belong to one manager as a whole; conflicts between managers are not reported.
    """
    result = dict(live)
    for key in previous:
        if key not in wanted:
            result.pop(key, None)
    for key, value in wanted.items():
        old = previous.get(key)
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = apply(result[key], old if isinstance(old, dict) else {}, value)
        else:
            result[key] = copy.deepcopy(value)
    return result
