"""SageMaker's asynchronous endpoints as a :class:`~spillway.runtime.gateway.job_site.JobSite`."""

from __future__ import annotations

from typing import Final

from spillway.contracts.jobs import JobQueue
from spillway.runtime.gateway.aws import client

WAITS_AT_MOST_S: Final = 6 * 3600
"""For an instance, the longest that there is (InvokeEndpointAsync, RequestTTLSeconds)."""
WORKS_AT_MOST_S: Final = 900
"""On one job, the service's own default (InvokeEndpointAsync, InvocationTimeoutSeconds)."""
GIVEN_UP_S: Final = WAITS_AT_MOST_S + WORKS_AT_MOST_S
"""After which there will be neither answer nor failure."""
_BINARY: Final = "application/vnd.sagemaker-triton.binary+json;json-header-size="
"""How its Triton is told where a request's JSON ends, in place of a header."""


def hand_on(queue: JobQueue, id_: str, path: str, kind: str, source: str) -> tuple[str, str]:
    attributes = queue.paths[path]
    handed = client("sagemaker-runtime", queue.region).invoke_endpoint_async(
        EndpointName=queue.endpoint,
        InputLocation=source,
        ContentType=kind,
        InferenceId=id_,
        RequestTTLSeconds=WAITS_AT_MOST_S,
        InvocationTimeoutSeconds=WORKS_AT_MOST_S,
        **({"CustomAttributes": attributes} if attributes else {}),
    )
    return handed["OutputLocation"], handed["FailureLocation"]


def with_head(kind: str, head_length: str | None) -> str:
    return _BINARY + head_length if head_length else kind


def without_head(kind: str) -> tuple[str, str | None]:
    return ("application/octet-stream", kind.removeprefix(_BINARY)) if kind.startswith(_BINARY) else (kind, None)
