"""Reads the spill cut-off and says which classes are closed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from spillway.contracts.classes import RequestClass
from spillway.contracts.routing import Cutoff
from spillway.runtime.gateway.eds import write_atomically


class CutoffError(Exception):
    """The cut-off parameter holds something that is no cut-off."""


class CutoffWatch:
    """The cut-off as last read. A read that fails leaves it as it was, and ``kept`` outlives the agent.

    Who has read nothing yet does not spill the class that is shed first: what answers the others costs no more than the
    ceiling, however much they spill (ADR 0144).
    """

    def __init__(self, cutoff: Cutoff, read_parameter: Callable[[str], str | None], kept: Path) -> None:
        self.cutoff = cutoff
        self._read = read_parameter
        self._file = kept
        self.closed = self._begin()

    def _begin(self) -> frozenset[RequestClass]:
        try:
            return parse(self._file.read_text(), self.cutoff.order)
        except (OSError, CutoffError):
            return frozenset(self.cutoff.order[:1]) - {RequestClass.P0}

    def check(self) -> bool:
        """Read once (blocking). Returns whether it changed. Raises what the reader raises, and :class:`CutoffError`."""
        text = self._read(self.cutoff.parameter)
        closed = parse(text, self.cutoff.order) if text is not None else frozenset()
        changed = closed != self.closed
        self.closed = closed
        if changed or not self._file.exists():
            write_atomically(self._file, json.dumps({"closed": sorted(closed)}))
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
