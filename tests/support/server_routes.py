"""What the pinned servers register, read from the servers themselves."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from re import _constants as opcodes  # pyright: ignore[reportAttributeAccessIssue]
from re import _parser  # pyright: ignore[reportAttributeAccessIssue]
from typing import Any

from tests.support.paths import ROOT
from tests.support.triton import BINARY

VLLM_LIST = ROOT / "tests" / "contracts" / "vllm_routes.txt"
HTTP_EXPRESSION = re.compile(rb"\0(/(?:v2(?:[^\0]*)|[\w/]*\(\?[^\0]*|metrics/\?|invocations|ping))(?=\0)")
"""How a route stands in Triton's binary: an expression of its own for RE2, below ``/v2`` or with groups in it."""
GRPC_METHOD = re.compile(rb"\0(/[\w.]*(?:inference\.\w+|grpc\.health\.v1\.Health)/\w+)(?=\0)")

ADMINISTRATION = (
    ("POST", "/v2/repository/index"),
    ("POST", "/v2/repository/models/m/unload"),
    ("POST", "/v2/repository/models/m/load"),
    ("POST", "/v2/repository/other/models/m/load"),
    ("POST", "/v2/systemsharedmemory/region/r/register"),
    ("POST", "/v2/systemsharedmemory/unregister"),
    ("POST", "/v2/cudasharedmemory/region/r/register"),
    ("GET", "/v2/cudasharedmemory/status"),
    ("POST", "/v2/logging"),
    ("GET", "/v2/logging"),
    ("POST", "/v2/trace/setting"),
    ("POST", "/v2/models/m/trace/setting"),
    ("POST", "/v2/models/m/versions/1/trace/setting"),
    ("GET", "/v2/models/m/config"),
    ("GET", "/v2/models/m/versions/1/config"),
    ("GET", "/v2/models/stats"),
    ("GET", "/v2/models/m/stats"),
)
"""Those of the report, and others of each kind."""


def triton_expressions() -> list[str]:
    """The expressions with which the HTTP servers in the binary tell their routes apart."""
    return sorted({found.decode() for found in HTTP_EXPRESSION.findall(BINARY.read_bytes())})


def triton_methods() -> list[str]:
    """The paths of the gRPC methods in the binary."""
    return sorted({found.decode() for found in GRPC_METHOD.findall(BINARY.read_bytes())})


def triton_paths() -> list[str]:
    """A path for each way to match each expression: every choice, with and without what may be left out."""
    return sorted({path for expression in triton_expressions() for path in spelled(expression)})


def vllm_requests() -> list[tuple[str, str]]:
    """Method and path of each route, a name in place of each parameter. A websocket begins with a GET."""
    lines = VLLM_LIST.read_text(encoding="utf-8").splitlines()[1:]
    requests = (line.replace("WEBSOCKET", "GET").split() for line in lines)
    return [(method, re.sub(r"\{\w+\}", "r", path)) for method, path in requests]


def spelled(expression: str) -> Iterator[str]:
    """Texts that match an expression. A class of characters is spelled with one of them: ``m``, or ``1``."""
    yield from _sequence(list(_parser.parse(expression)))


def _sequence(parts: list[Any]) -> Iterator[str]:
    for chosen in itertools.product(*([*_part(*part)] for part in parts)):
        yield "".join(chosen)


def _part(kind: Any, value: Any) -> Iterator[str]:
    if kind is opcodes.LITERAL:
        yield chr(value)
    elif kind is opcodes.NOT_LITERAL:
        yield "m"
    elif kind is opcodes.IN and all(member is opcodes.LITERAL for member, _ in value):
        yield from (chr(code) for _, code in value)
    elif kind is opcodes.IN:
        yield "1" if (opcodes.RANGE, (ord("0"), ord("9"))) in value else "m"
    elif kind is opcodes.SUBPATTERN:
        yield from _sequence(list(value[3]))
    elif kind is opcodes.BRANCH:
        for branch in value[1]:
            yield from _sequence(list(branch))
    elif kind is opcodes.MAX_REPEAT:
        least, most, repeated = value
        if least == 0:
            yield ""
        if most > 0:
            yield from _sequence(list(repeated))
    else:
        raise NotImplementedError(f"{kind} {value}: say here how such a part is spelled")
