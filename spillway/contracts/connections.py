"""What clients' connections may cost a gateway process: the time that a slow one gets, and how much of everything."""

from __future__ import annotations

from pydantic import Field

from spillway.contracts.frozen import Frozen


class Connections(Frozen):
    """Bounds of what clients do before there is anything to answer. How long an answer takes is not among them."""

    headers_s: float = Field(default=10.0, gt=0)
    """Seconds for a TLS handshake, and for the headers of a request from their first byte."""
    body_s: float = Field(default=60.0, gt=0)
    """Seconds in which a whole request has to arrive."""
    idle_s: float = Field(default=300.0, gt=0)
    """Seconds that a connection without a request is kept."""
    age_s: float | None = Field(default=3600.0, gt=0)
    """Seconds after which a connection takes no further request; ``None``: it may stay."""
    most: int = Field(default=10_000, ge=1)
    """Connections at once; more are closed as they come."""
    streams: int = Field(default=100, ge=1)
    """Requests at once on one connection of HTTP/2."""
    memory_bytes: int | None = Field(default=None, ge=1)
    """What the process may use: close to it new requests are refused. ``None``: nobody says."""
