"""What makes two requests one question: the package, the path, and the input in one form.

KServe's Predict Protocol v2 (https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol): order
and blanks of JSON mean nothing, nor does the order of inputs whose data stand in it; ``id`` only comes back, and a
priority or a deadline of Triton's changes no answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

HEADER_LENGTH: Final = "inference-header-content-length"
"""Of the binary extension: how long the JSON is before the tensors' bytes
(https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md)."""
_NO_MATTER: Final = frozenset(("priority", "timeout"))
"""https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_schedule_policy.md"""
_STATEFUL: Final = frozenset(("sequence_id", "sequence_start", "sequence_end"))
"""https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_sequence.md"""
_REGIONS: Final = frozenset(("shared_memory_region", "shared_memory_offset", "shared_memory_byte_size"))


@dataclass(frozen=True)
class Question:
    """``key``: the same for what is answered the same. ``id``: that the answer has to bring back, as JSON."""

    key: str
    id: str = ""


class _StrangeError(ValueError):
    """A request that may mean more than its JSON says."""


def question(package_digest: str, path: str, headers: Mapping[str, str], body: bytes) -> Question | None:
    """``None`` for what no answer is kept of: no such request, one of a sequence, or one whose JSON is ambiguous.

    ``headers``: names in lower case.
    """
    length = headers.get(HEADER_LENGTH, "")
    if length and not (length.isdecimal() and int(length) <= len(body)):
        return None
    text, tensors = (body[: int(length)], body[int(length) :]) if length else (body, b"")
    try:
        asked = json.loads(
            text, parse_float=Decimal, parse_constant=_refuse, object_pairs_hook=_object, parse_int=Decimal
        )
        identifier, canonical = _canonical(asked, sort=not tensors)
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError):
        return None
    digest = hashlib.sha256()
    for part in (package_digest.encode(), path.encode(), canonical.encode(), tensors):
        digest.update(len(part).to_bytes(8, "big") + part)
    return Question(digest.hexdigest(), identifier)


def _canonical(asked: dict[str, Any], *, sort: bool) -> tuple[str, str]:
    """The identifier, and the rest in one form. Raises where a part is not what the protocol says."""
    given = asked.get("parameters", {})
    if _STATEFUL & given.keys() or any(_REGIONS & (one.get("parameters") or {}).keys() for one in asked["inputs"]):
        raise _StrangeError
    identifier = asked.get("id", "")
    if not isinstance(identifier, str):
        raise _StrangeError
    rest = {name: value for name, value in asked.items() if name not in ("id", "parameters")}
    if left := {name: value for name, value in given.items() if name not in _NO_MATTER}:
        rest["parameters"] = left
    if sort:
        rest["inputs"] = sorted(asked["inputs"], key=lambda one: one["name"])
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_number)
    return json.dumps(identifier, ensure_ascii=False) if identifier else "", canonical


def _number(value: Decimal) -> dict[str, str]:
    """As it was written: a float would make one of many."""
    return {"number": str(value)}


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _StrangeError
    return found


def _refuse(_: str) -> None:
    raise _StrangeError
