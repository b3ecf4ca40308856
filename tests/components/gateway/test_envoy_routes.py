"""Every route of the pinned servers through a real Envoy: inference, metadata and health pass, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.gateway.envoy_config import render
from spillway.contracts.classes import Site
from spillway.contracts.routing import RoutingTable, SiteRoute
from spillway.contracts.server_routes import ROUTES, decision
from spillway.twin.data_plane.processes.backends.fixed_time import fixed_time_repository
from tests.support.gateway_rig import ALPHA, INFER, OPERATOR_KEY, Answer, Rig
from tests.support.server_routes import ADMINISTRATION, triton_methods, triton_paths, vllm_requests
from tests.support.triton import BINARY, serving

pytestmark = pytest.mark.heavy

needs_triton = pytest.mark.skipif(
    not BINARY.is_file(), reason="Triton is not unpacked under .tools (the set-up does it)"
)
BODY = b'{"inputs":[]}'
SPELLINGS = (
    "/v2/repository/index/",
    "//v2//repository//index",
    "/v2/repository/index?x=1",
    "/v2/repository/index?/v2/models/m/infer",
    "/v2/models/../repository/index",
    "/v2/models/m/infer/../../../repository/index",
    "/v2/models/m/infer/%2e%2e/%2e%2e/%2e%2e/repository/index",
    "/v2/%72epository/index",
    "/v2/%2572epository/index",
    "/v2/models/..%2frepository/index",
    "/v2/models/m%2f..%2f..%2frepository%2findex",
    "/v2\\repository\\index",
    "/V2/Repository/Index",
    "/v2/repository;x/index",
    "/v2/repository/index#/v2/models/m/infer",
    "/v2/models/stats/",
    "/v2/models/%73tats",
    "/v2/models/m/../stats",
)


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("triton")) as rig:
        yield rig


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("vllm"), for_vllm) as rig:
        yield rig


def for_vllm(table: RoutingTable) -> RoutingTable:
    return table.model_copy(update={"server": "vllm"})


def ask(rig: Rig, method: str, path: str, **headers: str) -> tuple[Answer, int]:
    """The answer, and how many requests came to any server."""
    for server in rig.servers.values():
        server.seen.clear()
    answer = rig.post(BODY if method == "POST" else b"", path=path, method=method, headers=headers)
    return answer, sum(len(server.seen) for server in rig.servers.values())


@needs_triton
def test_each_route_of_triton_is_let_in_or_refused_as_the_table_says(triton: Rig) -> None:
    for path in triton_paths():
        plain = path.replace("//", "/").rstrip("/")
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"):
            answer, seen = ask(triton, method, path)
            route = decision("triton", method, plain)
            if route is not None and route.allowed:
                assert answer.status == 200, f"{method} {path}"
            else:
                assert (answer.status in (403, 405), seen) == (True, 0), f"{method} {path}: {answer.status}"


def test_each_route_of_vllm_is_let_in_or_refused_as_the_table_says(vllm: Rig) -> None:
    for method, path in vllm_requests():
        answer, seen = ask(vllm, method, path)
        route = decision("vllm", method, path)
        assert route is not None
        assert answer.status == (200 if route.allowed else 403), f"{method} {path}"
        assert route.allowed or seen == 0


def test_a_server_has_no_routes_of_the_other_kind(triton: Rig, vllm: Rig) -> None:
    assert ask(triton, "POST", "/v1/chat/completions")[0].status == 403
    assert ask(vllm, "POST", INFER)[0].status == 403


@pytest.mark.parametrize("site", list(Site))
@pytest.mark.parametrize(("method", "path"), ADMINISTRATION)
def test_administration_is_refused_at_every_site_whoever_asks(triton: Rig, site: Site, method: str, path: str) -> None:
    at = {"x-spillway-operator-key": OPERATOR_KEY, "x-spillway-site": site.value}
    for headers in (at, {"x-spillway-key": ALPHA, **at}, {}):
        answer, seen = ask(triton, method, path, **headers)
        assert (answer.status, seen) == (403, 0)
        assert "inference, metadata and health" in json.loads(answer.body)["error"]


@pytest.mark.parametrize("path", SPELLINGS)
def test_no_spelling_gets_through(triton: Rig, path: str) -> None:
    """Sent as it is: a client library would tidy it."""
    for method in ("GET", "POST"):
        for server in triton.servers.values():
            server.seen.clear()
        status = triton.raw(f"{method} {path} HTTP/1.1\r\nhost: g\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        assert status in (400, 403)
        assert not any(server.seen for server in triton.servers.values())


def test_a_wrong_method_is_told_the_right_one(triton: Rig) -> None:
    answer, seen = ask(triton, "PUT", INFER)
    assert (answer.status, answer.headers["allow"], seen) == (405, "POST", 0)


@needs_triton
def test_grpc_is_refused_in_its_own_way(triton: Rig) -> None:
    """Envoy answers gRPC with 200 and a status: 7 is PERMISSION_DENIED."""
    for path in triton_methods():
        answer, seen = ask(triton, "POST", path, **{"content-type": "application/grpc"})
        assert (answer.status, answer.headers["grpc-status"], seen) == (200, "7", 0)


@pytest.mark.parametrize(
    "path", [f"{INFER}/", "/v2/models/m/versions/1/infer", "/v2/models/m/versions/1/infer/", f"/{INFER}?x=1"]
)
@pytest.mark.parametrize("down", [(), (Site.PRIVATE,), (Site.PRIVATE, Site.SAGEMAKER)])
def test_a_path_spelled_in_another_way_spills_alike(triton: Rig, down: tuple[Site, ...], path: str) -> None:
    for site, server in triton.servers.items():
        server.status = 503 if site in down else 200
    try:
        answer, _ = ask(triton, "POST", path, **{"x-spillway-key": ALPHA})
        assert (answer.status, answer.site) == (200, list(Site)[len(down)])
    finally:
        for server in triton.servers.values():
            server.status = 200


@pytest.mark.parametrize("server", ["triton", "vllm"])
def test_the_routes_of_envoy_itself_let_nothing_else_through(tmp_path: Path, server: Any) -> None:
    """Were admission to fail, there would still be no way on."""
    table = Rig(tmp_path).table.model_copy(update={"server": server})
    closed = [path for route in ROUTES[server] if not route.allowed for path in route.patterns]
    for listener in render(table)["static_resources"]["listeners"]:
        if listener["name"].endswith(("-batch", "-interactive", "-generation")) or listener["name"] == "metrics":
            continue
        manager = listener["filter_chains"][0]["filters"][-1]["typed_config"]
        routes = manager["route_config"]["virtual_hosts"][0]["routes"]
        for path in (re.sub(r"\{\w+\}", "1", path) for path in closed):
            first = next((route for route in routes if matches(route["match"], path)), {})
            assert "route" not in first or listener["name"] != "front", f"{listener['name']}: {path}"


def matches(match: dict[str, Any], path: str) -> bool:
    if "path" in match:
        return match["path"] == path
    return re.fullmatch(match["safe_regex"]["regex"], path) is not None


@needs_triton
def test_the_real_triton_is_not_administered_and_still_answers(tmp_path: Path) -> None:
    repository = fixed_time_repository(tmp_path / "models", name="m", service_time_s=0.0, instances=1)
    with (
        serving(repository, tmp_path / "triton.log") as ports,
        Rig(tmp_path, lambda table: only_private(table, ports.http)) as rig,
    ):
        for method, path in ADMINISTRATION:
            assert rig.post(b"{}", path=path, method=method).status == 403, path
        text = {"name": "TEXT", "shape": [1, 1], "datatype": "BYTES", "data": ["hello"]}
        for path in (INFER, f"{INFER}/", "/v2/models/m/versions/1/infer"):
            answer = rig.post({"inputs": [text]}, path=path, headers={"x-spillway-key": ALPHA})
            assert (answer.status, json.loads(answer.body)["outputs"][0]["data"]) == (200, ["hello"])
        for path in ("/v2", "/v2/models/m", "/v2/health/ready", "/v2/health/live", "/v2/models/m/ready"):
            assert rig.post(b"", path=path, method="GET").status == 200, path


@needs_triton
def test_triton_itself_answers_administration_with_a_key_only(tmp_path: Path) -> None:
    """Behind the gateway, for whoever gets past it."""
    repository = fixed_time_repository(tmp_path / "models", name="m", service_time_s=0.0, instances=1)
    with serving(repository, tmp_path / "triton.log") as ports, Rig(tmp_path) as rig:
        for method, path in ADMINISTRATION:
            answer = rig.http.request(method, f"http://127.0.0.1:{ports.http}{path}", body=b"{}")
            # Operators ask for these two; Triton has no trace setting of a version.
            kept = {"config": (200,), "stats": (200,), "setting": (403, 404)}.get(path.rpartition("/")[2], (403,))
            assert answer.status in kept, path


def only_private(table: RoutingTable, port: int) -> RoutingTable:
    private = table.site(Site.PRIVATE).model_copy(update={"port": port})
    return RoutingTable.model_validate(
        {**table.model_dump(), "sites": [SiteRoute.model_validate(private).model_dump()]}
    )
