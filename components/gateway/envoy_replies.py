"""What Envoy says itself where no server of a site answers: the status that tells the levels apart, and a body in the
form that the clients of the package's kind read."""

from __future__ import annotations

from typing import Any, Final

from spillway.contracts.server_routes import ServerKind

Json = dict[str, Any]

FAILED: Final = 502
"""A server that had the request is gone without an answer: see ``envoy_generation``."""

REASONS: Final[tuple[tuple[tuple[str, ...], int | None, str], ...]] = (
    (("UO",), None, "every place of this site is taken"),
    (("UF", "UH"), None, "no server of this site can be reached"),
    (("UC", "UR", "UPE"), FAILED, "the server failed while it worked on the request"),
    (("UT",), None, "the site did not answer in time"),
)
"""Envoy's response flags, the status in place of its own, and what happened in words
(https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/observability/access_log/usage)."""

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
    mark = {"header": {"key": OWN_HEADER, "value": "true"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    own: Json = {"body_format_override": {"json_format": BODIES[server]}, "headers_to_add": [mark]}
    mappers: list[Json] = []
    for flags, status, words in REASONS:
        mapper: Json = {"filter": {"response_flag_filter": {"flags": list(flags)}}, "body": {"inline_string": words}}
        mappers.append({**mapper, **own, **({"status_code": status} if status else {})})
    bad = {"op": "GE", "value": {"default_value": 400, "runtime_key": "spillway.bad_status"}}
    return {"mappers": [*mappers, {"filter": {"status_code_filter": {"comparison": bad}}, **own}]}
