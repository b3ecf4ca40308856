"""Jobs: P2 requests that a gateway takes at once and that are answered later; where they wait, and by which names.

A client asks with ``Prefer: respond-async`` (RFC 7240, section 4.1), gets 202 and an address, and asks there for the
answer.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from spillway.contracts.classes import RequestClass, SiteName
from spillway.contracts.frozen import Frozen

CLASS: Final = RequestClass.P2
"""The class whose requests may become jobs."""
PATH: Final = "/jobs/{job}"
"""Where a client asks for its job, in the form of ``contracts.server_routes``."""
GROUP: Final = "jobs"
"""What the gateway's front calls the way to the agent, beside the groups of the routing table."""
KEY_HEADER: Final = "idempotency-key"
"""By which a request that is sent again stays one job (draft-ietf-httpapi-idempotency-key-header-06)."""
ATTEMPTS_HEADER: Final = "x-spillway-attempts"
"""How often a job was given to be worked on: more than once after a fault in between, and it says so."""


class JobQueue(Frozen):
    """Where a gateway's agent keeps jobs, and who works on them."""

    site: SiteName
    """Where they are worked on: only who may spill there has jobs."""
    module: str
    """Of the agent's code, which knows the site's API (``spillway.runtime.gateway.job_site``)."""
    region: str
    queue_url: str
    """SQS's, of the queue that holds a job until it is answered."""
    bucket: str
    """Of requests, marks and answers."""
    requests: str
    """How the keys of requests begin, with a slash at the end."""
    marks: str
    """How the keys of the marks begin that say what was done about a job."""
    endpoint: str
    """The asynchronous endpoint that works on them."""
    paths: dict[str, str]
    """What it can be asked, by client's path: what its container is told about that, or nothing."""
    most_held: Annotated[int, Field(ge=1)]
    """Jobs that one gateway process has at the endpoint at once; the others wait in the queue, where nothing ends
    them."""
    hidden_s: Annotated[int, Field(ge=0, le=43200)] = 300
    """Seconds after which a job comes back whose agent is gone."""
    period_s: Annotated[float, Field(gt=0)] = 5.0
    """Seconds between two looks at the queue, and at least between two at a job."""
