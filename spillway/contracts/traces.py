"""Where gateways and model servers send what they did with a request, span by span."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from spillway.contracts.frozen import Frozen

PATH: Final = "/v1/traces"
"""Of OTLP over HTTP (https://opentelemetry.io/docs/specs/otlp/#otlphttp-request)."""
_COLLECTOR: Final = re.compile(
    r"http://(?P<host>[a-z0-9](?:[-a-z0-9]*[a-z0-9])?\.(?P<namespace>[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)"
    r"(?:\.svc(?:\.cluster\.local)?)?):(?P<port>[0-9]{1,5})"
)


def _read(collector: str) -> re.Match[str]:
    found = _COLLECTOR.fullmatch(collector)
    if found is None or not 1 <= int(found["port"]) <= 65535:
        raise ValueError(
            f"{collector} is no collector in the cluster: give http://SERVICE.NAMESPACE:PORT, such as"
            " http://otel-collector.observability:4318, whose pods listen on that port for OTLP over HTTP"
        )
    return found


Collector = Annotated[str, AfterValidator(lambda given: _read(given).string)]


class Traces(Frozen):
    """OpenTelemetry spans of the gateway beside the private cluster and of the model servers there."""

    collector: Collector
    """``http://SERVICE.NAMESPACE:PORT`` of a collector in the cluster whose pods take OTLP over HTTP on that port."""
    percent: float = Field(default=1.0, gt=0, le=100)
    """Of how many requests of a hundred. A client's ``traceparent`` is gone on with, and asks for nothing."""

    @property
    def host(self) -> str:
        return _read(self.collector)["host"]

    @property
    def namespace(self) -> str:
        return _read(self.collector)["namespace"]

    @property
    def port(self) -> int:
        return int(_read(self.collector)["port"])

    @property
    def url(self) -> str:
        return self.collector + PATH


def triton_flags(url: str) -> list[str]:
    """Triton goes on with the traces that it is given a ``traceparent`` of, and begins none (rate 0). It looks at no
    sampling flag, seen on 2.51: what is not traced has to come without.

    https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/trace.html
    """
    options = ("mode=opentelemetry", f"opentelemetry,url={url}", "level=TIMESTAMPS", "rate=0")
    return [f"--trace-config={option}" for option in options]


def vllm_option(url: str) -> dict[str, str]:
    """https://docs.vllm.ai/en/latest/examples/observability/opentelemetry/"""
    return {"otlp-traces-endpoint": url}


VLLM_ENVIRONMENT: Final = {
    "OTEL_SERVICE_NAME": "vllm",
    # Its default is gRPC.
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
    # What the gateway does not trace says so; what says nothing is no client's.
    "OTEL_TRACES_SAMPLER": "parentbased_always_off",
}
"""Beside it (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/)."""
