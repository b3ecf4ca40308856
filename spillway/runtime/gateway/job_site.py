"""What the agent's code knows of a site that works on jobs: one module for each, named in the routing table."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

from spillway.contracts.jobs import JobQueue


class JobSite(Protocol):
    """A module's functions and constants."""

    GIVEN_UP_S: int
    """Seconds after which a job without an answer has none to come."""

    def hand_on(self, queue: JobQueue, id_: str, path: str, kind: str, source: str) -> tuple[str, str]:
        """Where the answer will be, or else the failure. ``path``: the client's; ``source``: where the request is."""
        ...

    def with_head(self, kind: str, head_length: str | None) -> str:
        """The media type of a body that begins with so many bytes of JSON, and is tensors then."""
        ...

    def without_head(self, kind: str) -> tuple[str, str | None]:
        """The media type for a client, and the length that :meth:`with_head` writes into it."""
        ...


def job_site(module: str) -> JobSite:
    return cast("JobSite", import_module(module))
