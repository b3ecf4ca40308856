"""The three request classes and what each one is promised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field


class RequestClass(StrEnum):
    """How urgent a request is. Clients say it with :data:`CLASS_HEADER`."""

    P0 = "P0"
    P1 = "P1"
    P2 = "P2"


@dataclass(frozen=True)
class ClassPromise:
    """What one class is promised.

    ``deadline_s``: seconds in which an answer is due, ``None`` for batch work that only has to complete.
    ``triton_priority``: Triton's priority level, 1 is served first.
    ``lost_after_s``: seconds after which a request without a correct answer counts as lost.
    """

    deadline_s: float | None
    triton_priority: int
    lost_after_s: float


GRACE_S: Final = 2.0
"""Seconds past the deadline after which a request is lost."""

BATCH_HORIZON_S: Final = 60.0
"""Seconds after which a P2 request that was answered over the gateway counts as lost."""

PROMISES: Final[dict[RequestClass, ClassPromise]] = {
    RequestClass.P0: ClassPromise(deadline_s=0.5, triton_priority=1, lost_after_s=0.5 + GRACE_S),
    RequestClass.P1: ClassPromise(deadline_s=2.0, triton_priority=2, lost_after_s=2.0 + GRACE_S),
    RequestClass.P2: ClassPromise(deadline_s=None, triton_priority=3, lost_after_s=BATCH_HORIZON_S),
}

DEFAULT_CLASS: Final = RequestClass.P1

CLASS_HEADER: Final = "x-spillway-class"
SITE_HEADER: Final = "x-spillway-site"
OPERATOR_KEY_HEADER: Final = "x-spillway-operator-key"
CLIENT_KEY_HEADER: Final = "x-spillway-key"


SiteName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
"""Where a request can be served: a key below ``burst`` in the stack file, or ``private``."""


class Site(StrEnum):
    """The sites that Spillway ships, in spill order. A table may have others: any :data:`SiteName`."""

    PRIVATE = "private"
    SAGEMAKER = "sagemaker"
    AZURE_ML = "azure_ml"


def spill_rank(name: SiteName) -> int:
    """Where a site stands in spill order: those of :class:`Site` first, any other after them."""
    shipped = list(Site)
    return shipped.index(Site(name)) if name in shipped else len(shipped)


def spill_order_problem(names: Sequence[SiteName]) -> str | None:
    """What is wrong with the order in which sites stand; the private one is first, those of :class:`Site` in order."""
    shipped = [name for name in Site if name in names]
    if len(names) != len(set(names)) or [name for name in names if name in set(Site)] != shipped:
        return f"sites have to stand once each in spill order: {', '.join(Site)}"
    if Site.PRIVATE in names and names[0] != Site.PRIVATE:
        return "the private site has to stand first: spill goes from there"
    return None
