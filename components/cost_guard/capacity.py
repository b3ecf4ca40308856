"""Burst capacity as the cost guard sees it: what to count, what to hold at its minimum, and the rights that takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from components.aws_documents import Statement
from spillway.contracts.capacity import Machines
from spillway.contracts.classes import RequestClass


@dataclass(frozen=True)
class HeldCapacity:
    """Instances that the cut-off holds at ``minimum`` while ``request_class`` is closed, the last that uses them: P0
    for what answers at once, P2 for a queue's. ``asked``: as in :class:`SiteCapacity`, of the module's ``hold``."""

    minimum: int
    request_class: RequestClass
    asked: pulumi.Input[Mapping[str, Any]]


@dataclass(frozen=True)
class SiteCapacity:
    """A burst site whose live instances are counted.

    ``module``: the dotted name of the functions' module that knows its API (``spillway.runtime.functions.site``);
    ``asked``: what its ``read`` wants to know. ``may_read`` and ``may_hold``: IAM
    statements that the two functions need for it. ``machines``: whose prices are given along. ``admit``: is told the
    ARNs of the two functions' roles, the signal's first, for a cloud that has to trust them.
    """

    site: str
    module: str
    machines: tuple[Machines, ...]
    asked: pulumi.Input[Mapping[str, Any]]
    may_read: pulumi.Input[Sequence[Statement]]
    held: tuple[HeldCapacity, ...] = ()
    may_hold: pulumi.Input[Sequence[Statement]] = ()
    admit: Callable[[pulumi.Output[str], pulumi.Output[str]], None] | None = None
