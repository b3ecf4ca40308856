"""What Envoy says itself where no server of a site answers: the status that tells the levels apart, and a body in the
form that the clients of the package's kind read."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from spillway.contracts.refusals import REASON_HEADER, REFUSALS, Reason
from spillway.contracts.server_routes import ServerKind

Json = dict[str, Any]

FAILED: Final = 502
"""A server that had the request is gone without an answer: see ``envoy_generation``."""


class Reply(NamedTuple):
    """``flags``: Envoy's response flags
    (https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/observability/access_log/usage)."""

    flags: tuple[str, ...]
    words: str
    status: int | None = None
    """In place of Envoy's own."""
    reason: Reason | None = None


REPLIES: Final = (
    Reply(("UO",), "every place of this site is taken", reason=Reason.FULL),
    Reply(("UF", "UH"), "no server of this site can be reached", reason=Reason.UNREACHABLE),
    Reply(("UC", "UR", "UPE"), "the server failed while it worked on the request", FAILED),
    Reply(("UT",), "the site did not answer in time"),
    Reply(("RL",), "the client's contracted rate is used up for now", reason=Reason.RATE),
)

OWN_HEADER: Final = "x-spillway-own-reply"
"""Marks what no server said, on its way through the levels; the front takes it away."""

BODIES: Final[dict[ServerKind, Json]] = {
    "triton": {"error": "%LOCAL_REPLY_BODY%"},
    "vllm": {
        "error": {"message": "%LOCAL_REPLY_BODY%", "type": "gateway_error", "param": None, "code": "%RESPONSE_CODE%"}
    },
}
"""KServe's form of an error (its Predict Protocol v2), and OpenAI's, which vLLM has, too."""


def local_replies(server: ServerKind) -> Json:
    """``local_reply_config`` of a connection manager."""
    form = {"body_format_override": {"json_format": BODIES[server]}}
    bad = {"op": "GE", "value": {"default_value": 400, "runtime_key": "spillway.bad_status"}}
    other = {"filter": {"status_code_filter": {"comparison": bad}}, "headers_to_add": [_header(OWN_HEADER, "true")]}
    return {"mappers": [{**mapper, **form} for mapper in (*map(_mapper, REPLIES), _overloaded(), other)]}


def _mapper(reply: Reply) -> Json:
    headers = {OWN_HEADER: "true", **({REASON_HEADER: reply.reason.value} if reply.reason else {})}
    return {
        "filter": {"response_flag_filter": {"flags": list(reply.flags)}},
        "body": {"inline_string": reply.words},
        "headers_to_add": [_header(name, value) for name, value in headers.items()],
        **({"status_code": reply.status} if reply.status else {}),
    }


def _overloaded() -> Json:
    """Said before a request meets any filter, and with no flag of its own."""
    told = {REASON_HEADER: Reason.OVERLOADED.value, "retry-after": str(REFUSALS[Reason.OVERLOADED].retry_after_s)}
    return {
        "filter": {
            "extension_filter": {
                "name": "envoy.access_loggers.extension_filters.cel",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
                    "expression": 'response.code_details == "overload"',
                },
            }
        },
        "body": {"inline_string": "the gateway has no memory left for more"},
        "headers_to_add": [_header(name, value) for name, value in told.items()],
    }


def _header(name: str, value: str) -> Json:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def reasons() -> dict[str, str]:
    """As Lua names them."""
    return {reason.name.lower(): reason.value for reason in Reason}
