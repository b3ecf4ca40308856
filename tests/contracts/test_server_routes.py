"""The table of routes against what the pinned servers register."""

from __future__ import annotations

import pytest

from components.model_server.settings import ModelServerSettings
from spillway.contracts.server_routes import (
    ROUTES,
    TRITON_VERSION,
    VLLM_VERSION,
    Area,
    ServerKind,
    allowed_routes,
    decision,
    exceptions,
)
from spillway.contracts.targets import CONTAINERS, DEFAULT_TARGETS
from tests.support.server_routes import (
    VLLM_LIST,
    spelled,
    triton_expressions,
    triton_methods,
    triton_paths,
    vllm_requests,
)
from tests.support.triton import BINARY

needs_triton = pytest.mark.skipif(
    not BINARY.is_file(), reason="Triton is not unpacked under .tools (the set-up does it)"
)
METHODS = ("GET", "POST")
KINDS: tuple[ServerKind, ...] = ("triton", "vllm")


@needs_triton
def test_somebody_has_decided_about_every_route_of_triton() -> None:
    undecided = [
        path
        for path in triton_paths()
        if not any(decision("triton", method, path.replace("//", "/").rstrip("/")) for method in METHODS)
    ]
    assert undecided == []


@needs_triton
def test_the_walk_finds_triton_whole() -> None:
    """What it must have found, so that an empty walk is not a good one."""
    found = triton_paths()
    for path in ("/v2/models/m/infer", "/v2/models/m/versions/1/trace/setting", "/v2/repository/m/models/m/load"):
        assert path in found
    assert {"/v2/logging", "/v2/models/stats", "/v2/trace/setting"} < set(triton_expressions())
    assert "/inference.GRPCInferenceService/CudaSharedMemoryRegister" in triton_methods()


@needs_triton
def test_no_grpc_method_of_triton_passes() -> None:
    found = [decision("triton", "POST", path) for path in triton_methods()]
    assert len(found) > 20
    assert all(route is not None and not route.allowed for route in found)


def test_somebody_has_decided_about_every_route_of_vllm() -> None:
    assert [request for request in vllm_requests() if decision("vllm", *request) is None] == []


def test_the_versions_that_were_decided_about_are_those_that_run() -> None:
    settings = ModelServerSettings()
    assert settings.vllm_image.endswith(f":v{VLLM_VERSION}")
    assert VLLM_LIST.read_text(encoding="utf-8").startswith(f"# vllm {VLLM_VERSION}\n")
    ngc = next(name for name in DEFAULT_TARGETS if name.startswith("ngc-triton-"))
    assert settings.triton_image.endswith(f":{ngc.removeprefix('ngc-triton-')}-py3")
    assert CONTAINERS[ngc].triton == TRITON_VERSION
    assert CONTAINERS["twin-triton-2.51"].triton == TRITON_VERSION


@pytest.mark.parametrize("server", KINDS)
def test_nothing_but_inference_metadata_and_health_is_open(server: ServerKind) -> None:
    assert {route.area for route in allowed_routes(server)} == {Area.INFERENCE, Area.METADATA, Area.HEALTH}
    assert all(not route.allowed for route in ROUTES[server] if route.area is Area.ADMINISTRATION)
    assert all(len(route.reason) > 10 for route in ROUTES[server])


@pytest.mark.parametrize("server", KINDS)
def test_no_route_is_both_open_and_closed_but_for_the_exceptions(server: ServerKind) -> None:
    closed = [path for route in ROUTES[server] if not route.allowed for path in route.patterns]
    for path in (path.replace("{version}", "1").replace("{", "").replace("}", "") for path in closed):
        both = [route.path for route in allowed_routes(server) if route.matches(path)]
        assert not both or path in exceptions(server), f"{path} is also {both}"


def test_a_model_named_stats_is_not_asked_for_by_its_metadata() -> None:
    found = decision("triton", "GET", "/v2/models/stats")
    assert found is not None
    assert not found.allowed


@pytest.mark.parametrize(
    "path",
    [
        "/V2/models/m/infer",
        "/v2/models/m%2Finfer",
        "/v2/models/m/../n/infer",
        "/v2/models//infer",
        "/v2/models/m/infer/",
    ],
)
def test_other_spellings_are_nobodys(path: str) -> None:
    assert decision("triton", "POST", path) is None


def test_an_expression_is_spelled_in_every_way() -> None:
    assert sorted(spelled("/a(?:/([^/]+))?/(b|c/(d|e))")) == [
        "/a/b",
        "/a/c/d",
        "/a/c/e",
        "/a/m/b",
        "/a/m/c/d",
        "/a/m/c/e",
    ]
