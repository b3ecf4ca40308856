"""What Envoy tells the agent of each request, once its answer is over, whole or cut, and where the agent tells it."""

from __future__ import annotations

from pydantic import Field, field_validator

from spillway.contracts.frozen import Frozen


class Usage(Frozen):
    """One request's. Numbers of tokens are ``None`` where nobody said them."""

    id: str
    """Of the request."""
    client: str
    request_class: str
    site: str | None
    """Which answered."""
    duration_ms: float | None
    """From the request's first byte to the answer's last."""
    status: int
    """Of the answer."""
    streamed: bool | None
    """Whether a stream was asked for."""
    first_ms: float | None
    """From the request to the first byte of the answer; of a stream, to its first token."""
    model: str
    """As the request names it; of tensors the one that the gateway serves."""
    reserved: float | None
    """Most that it could use, counted before it was sent; ``None`` for tensors."""
    prompt: float | None
    completion: float | None
    cached: float | None
    """Of the prompt, read from the server's cache."""

    @field_validator("*", mode="before")
    @classmethod
    def _said(cls, value: object) -> object:
        """Envoy writes a dash for what is not there."""
        return None if value == "-" else value

    @property
    def charged(self) -> float:
        """What counts against the budget: what the answer said, to where it was cut; all that was reserved where an
        answer began and never said; nothing where none was given."""
        if self.prompt is not None:
            return self.prompt + (self.completion or 0)
        return (self.reserved or 0) if self.status == 200 else 0


class UsageMetrics(Frozen):
    """Where the agents tell what clients used, for showback."""

    region: str
    stack: str
    """Value of the dimension ``Stack``."""
    period_s: float = Field(default=60.0, gt=0)
    """Seconds between two tellings; less than CloudWatch's minute gains nothing."""
