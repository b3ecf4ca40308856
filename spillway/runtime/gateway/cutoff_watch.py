"""Reads the spill cut-off and says which classes are closed."""

from __future__ import annotations

import json
from collections.abc import Callable

from spillway.contracts.classes import RequestClass
from spillway.contracts.routing import Cutoff


class CutoffError(Exception):
    """The cut-off parameter holds something that is no cut-off."""


class CutoffWatch:
    """The cut-off as last read. A read that fails leaves it as it was."""

    def __init__(self, cutoff: Cutoff, read_parameter: Callable[[str], str | None]) -> None:
        self.cutoff = cutoff
        self.closed: frozenset[RequestClass] = frozenset()
        self._read = read_parameter

    def check(self) -> bool:
        """Read once (blocking). Returns whether it changed. Raises what the reader raises, and :class:`CutoffError`."""
        text = self._read(self.cutoff.parameter)
        closed = parse(text, self.cutoff.order) if text is not None else frozenset()
        changed = closed != self.closed
        self.closed = closed
        return changed


def parse(text: str, order: tuple[RequestClass, ...]) -> frozenset[RequestClass]:
    """The closed classes: those named, and every class that closes before one of them."""
    try:
        named = [RequestClass(name) for name in json.loads(text)["closed"]]
    except (ValueError, TypeError, KeyError):
        raise CutoffError('the cut-off must be JSON such as {"closed": ["P2", "P1"]}') from None
    if not named:
        return frozenset()
    last = max(order.index(request_class) if request_class in order else -1 for request_class in named)
    return frozenset(order[: last + 1]) | frozenset(named)
