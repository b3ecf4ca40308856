"""Why a gateway answers 429 or 503, in one word for programs, and when to ask again.

Nobody has a standard word for it: Envoy itself marks with ``x-envoy-ratelimited`` and ``x-envoy-overloaded``
(https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/router_filter), LiteLLM says how much is
left (``x-ratelimit-remaining-requests``, https://docs.litellm.ai/docs/proxy/response_headers).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

REASON_HEADER: Final = "x-spillway-reason"


class Reason(StrEnum):
    """Value of :data:`REASON_HEADER`."""

    RATE = "rate"
    TOKENS = "tokens"
    DATA_STAYS = "data-stays"
    ISSUER = "issuer-unreachable"
    FULL = "sites-full"
    UNREACHABLE = "sites-unreachable"
    UNFIT = "site-unfit"
    CLOUD = "cloud-refused"
    SERVER = "server-busy"
    JOBS = "jobs-unavailable"
    OVERLOADED = "gateway-overloaded"


class Refusal(NamedTuple):
    status: int
    retry_after_s: int
    """What a client is told to wait, where nobody knows better."""
    meaning: str


REFUSALS: Final[dict[Reason, Refusal]] = {
    Reason.RATE: Refusal(429, 1, "above the client's `requests_per_s`; other clients are served"),
    Reason.TOKENS: Refusal(429, 1, "above the client's `tokens_per_minute` or `tokens_per_month`"),
    Reason.DATA_STAYS: Refusal(503, 60, "`may_spill` keeps the data at the private site, which this gateway is not at"),
    Reason.ISSUER: Refusal(503, 1, "the keys of the tokens' issuer cannot be fetched; clients with keys are served"),
    Reason.FULL: Refusal(503, 1, "every place is taken that the class has at the sites it may use"),
    Reason.UNREACHABLE: Refusal(503, 5, "no server can be reached at the sites it may use, or all are closed to it"),
    Reason.UNFIT: Refusal(503, 5, "the sites that are left take no such path, or no body of this size"),
    Reason.CLOUD: Refusal(
        503, 5, "the last site asked is a cloud that says no to the gateway: its quota, key or endpoint"
    ),
    Reason.SERVER: Refusal(503, 1, "the server of the last site asked says no: its queue is full"),
    Reason.JOBS: Refusal(503, 5, "a job cannot be kept or found for now"),
    Reason.OVERLOADED: Refusal(503, 1, "the gateway has no memory left for more (`gateway.connections`)"),
}
