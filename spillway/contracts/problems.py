"""What is wrong with a stack file, in the words of everybody who judges a part of it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from spillway.contracts.names import STACK_NAMESPACE


@dataclass(frozen=True)
class Problem:
    """``key`` of the stack file, what was ``given``, and what is allowed and how to mend it (``advice``)."""

    key: str
    given: str
    advice: str

    def __str__(self) -> str:
        return f"{self.key}: {self.said}"

    @property
    def said(self) -> str:
        """Without the key."""
        return f"given {self.given}; {self.advice}"


def key_of(path: str) -> str:
    """The full name of a stack file's key, e.g. ``spillway:aws.region``."""
    return f"{STACK_NAMESPACE}:{path}"


def nearest(given: str, known: Iterable[str]) -> str:
    """``did you mean X? `` for the closest of ``known``, or nothing."""
    near = difflib.get_close_matches(given, sorted(known), n=1)
    return f"did you mean {near[0]}? " if near else ""
