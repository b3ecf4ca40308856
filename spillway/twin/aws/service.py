"""What one AWS service is on the twin. The services are in ``services/``, a file for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from spillway.twin.aws.recorder import Call, Handler, Kind
from spillway.twin.aws.row import Row

ACCOUNT: Final = "123456789012"
"""The twin's account."""

QueueCall = Callable[[str, Any, str], None]
"""Queues a Lambda call for the twin's function runner: the function's name or ARN, the payload, who calls."""


@dataclass(frozen=True)
class Service:
    """``name``: boto3's. What moto lacks is answered here, before a request reaches moto: ``recorded`` nouns are only
    remembered, ``answers`` are by operation. ``refuses``, by operation, raises what AWS would answer and moto does not;
    what it lets through is moto's. ``patch``: mends moto where it judges otherwise than AWS, once, before the
    server answers. ``regional``: false where a request's region says nothing.
    """

    name: str
    rows: tuple[Row, ...]
    recorded: tuple[Kind, ...] = ()
    answers: Mapping[str, Handler] = field(default_factory=dict)
    refuses: Mapping[str, Callable[[Call], None]] = field(default_factory=dict)
    patch: Callable[[QueueCall], None] | None = None
    regional: bool = True
