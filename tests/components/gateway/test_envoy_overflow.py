"""Overflow and failure through a real Envoy."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from spillway.contracts.classes import PROMISES, RequestClass, Site
from spillway.contracts.credentials import SigV4
from spillway.contracts.routing import Anonymous, Gate, RoutingTable, hash_key, listener_name
from tests.support.gateway_rig import ACCESS_KEY, ALPHA, OPERATOR_KEY, SECRET_KEY, Answer, ModelServer, Rig
from tests.support.waiting import eventually

pytestmark = pytest.mark.heavy

OUT_OF_BOUNDS = (
    "onnx runtime error 2: Non-zero status code returned while running Gather node. Name:'/Gather' Status Message: "
    "indices element out of data bounds, idx=99999 must be within the inclusive range [-30522,30521]"
)
NO_BROADCAST = (
    "onnx runtime error 6: Non-zero status code returned while running Add node. Name:'/Add' Status Message: axis == 1 "
    "|| axis == largest was false. Attempting to broadcast an axis by a dimension other than 1. 512 by 606"
)
LOST_GPU = (
    "onnx runtime error 1: Non-zero status code returned while running MatMul node. Name:'/MatMul' Status Message: "
    "CUBLAS failure 14: CUBLAS_STATUS_INTERNAL_ERROR"
)
"""Of the real backend: onnxruntime_utils.h of Triton's onnxruntime_backend, with ONNX Runtime's words."""


def all_classes(table: RoutingTable) -> RoutingTable:
    return table.model_copy(update={"anonymous": Anonymous(max_class=RequestClass.P0)})


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Rig(tmp_path, all_classes) as running:
        yield running


@pytest.fixture
def roomy_rig(tmp_path: Path) -> Iterator[Rig]:
    """Slots enough for what a busy machine sends late and all at once: a fault is tested, and no overload."""

    def roomy(table: RoutingTable) -> RoutingTable:
        sites = tuple(route.model_copy(update={"slots": 32}) for route in table.sites)
        return all_classes(table).model_copy(update={"sites": sites})

    rig = Rig(tmp_path, roomy)
    limits = {Site.SAGEMAKER: {"max_concurrent": 64}, Site.AZURE_ML: {"max_concurrent_per_instance": 64}}
    rig.front_settings = {place: front.model_copy(update=limits[place]) for place, front in rig.front_settings.items()}
    with rig as running:
        yield running


def slow(rig: Rig, seconds: float = 0.5) -> None:
    for server in rig.servers.values():
        server.delay_s = seconds


def together(rig: Rig, count: int, class_: str) -> list[Answer]:
    """Of requests that are answered or refused only when each has found its place, however late the last one came."""
    servers = rig.servers.values()
    with ThreadPoolExecutor(count) as pool:
        for server in servers:
            server.held = True
        waiting = [pool.submit(rig.post, class_=class_) for _ in range(count)]
        try:
            eventually(lambda: sum(s.running for s in servers) + sum(one.done() for one in waiting) == count, 10)
        finally:
            for server in servers:
                server.held = False
        return [one.result() for one in waiting]


def test_slots_and_one_more_spill_in_order(rig: Rig) -> None:
    assert rig.sites_of(together(rig, 3, "P1")) == {"private": 2, "sagemaker": 1}
    assert rig.sites_of(together(rig, 5, "P1")) == {"azure_ml": 1, "private": 2, "sagemaker": 2}


class ManyServers(Rig):
    """Six servers at the private site, as behind a headless service."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, all_classes)
        private = self.table.site(Site.PRIVATE)
        roomy = private.model_copy(update={"slots": 12})
        self.table = self.table.model_copy(update={"sites": (roomy, *self.table.sites[1:])})
        self.crowd = [ModelServer(private.port, f"127.0.0.{n}") for n in range(2, 7)]

    def config(self) -> dict[str, Any]:
        made = super().config()
        name = listener_name(Site.PRIVATE, Gate.OPEN)
        cluster = next(c for c in made["static_resources"]["clusters"] if c["name"] == name)
        for server in self.crowd:
            address = {"socket_address": {"address": server.host, "port_value": server.port}}
            cluster["load_assignment"]["endpoints"][0]["lb_endpoints"].append({"endpoint": {"address": address}})
        return made

    def passes_checks(self, site: Site) -> bool:
        name = f"cluster.{listener_name(site, Gate.OPEN)}.health_check.healthy"
        return self._admin(f"stats?filter=^{name}$").data.strip() == f"{name}: 6".encode()

    async def _start_servers(self) -> None:
        await super()._start_servers()
        for server in self.crowd:
            await server.start()

    async def _stop_servers(self) -> None:
        await super()._stop_servers()
        for server in self.crowd:
            await server.stop()


def test_no_server_gets_a_second_request_while_another_is_idle(tmp_path: Path) -> None:
    """One after the other, each while those before it are still worked on."""
    with ManyServers(tmp_path) as rig, ThreadPoolExecutor(6) as pool:
        servers = [rig.servers[Site.PRIVATE], *rig.crowd]

        def everybody_was_asked() -> bool:
            rig.post(class_="P1")
            return all(server.seen for server in servers)

        # Envoy's threads hear of healthy servers up to a second late (update_merge_window).
        eventually(everybody_was_asked, within_s=10, what="all servers are asked")
        for server in servers:
            server.delay_s, server.most_running = 1.0, 0
        answers = []
        for number in range(6):
            answers.append(pool.submit(rig.post, class_="P1"))
            eventually(lambda n=number: sum(s.running for s in servers) == n + 1, within_s=5, what="it is worked on")
        assert [server.most_running for server in servers] == [1] * 6
        assert {answer.result().status for answer in answers} == {200}


def test_p0_may_queue_when_all_is_full_and_p1_is_refused(rig: Rig) -> None:
    slow(rig)
    assert [a.status for a in rig.at_once(8, class_="P1")].count(503) == 2
    assert [a.status for a in rig.at_once(8, class_="P0")].count(200) == 8


def test_p2_gets_only_its_share(rig: Rig) -> None:
    answers = together(rig, 6, "P2")
    assert rig.sites_of(answers) == {"azure_ml": 1, "private": 1, "sagemaker": 1}
    assert {a.status for a in answers} == {200, 503}


def test_killed_private_site_loses_nothing_and_comes_back(rig: Rig) -> None:
    private = rig.servers[Site.PRIVATE]
    rig.wait(private.stop())
    answers = [rig.post(class_="P0") for _ in range(20)]
    assert rig.sites_of(answers) == {"sagemaker": 20}
    # Of a try's 0.6 s nothing is waited for.
    assert median(a.seconds for a in answers) < 0.5
    rig.wait(private.start())
    eventually(lambda: rig.post(class_="P0").site == "private", within_s=20)


def test_hung_private_site_is_left_within_the_deadline(rig: Rig) -> None:
    rig.servers[Site.PRIVATE].hang = True
    first = rig.post(class_="P0")
    assert (first.status, first.site) == (200, "sagemaker")
    assert first.seconds < 2.5
    eventually(lambda: not rig.passes_checks(Site.PRIVATE))
    later = [rig.post(class_="P0") for _ in range(3)]
    assert rig.sites_of(later) == {"sagemaker": 3}
    assert min(answer.seconds for answer in later) < 0.5, "each waited for a try's end"


def test_two_hung_sites_still_leave_time_for_the_third(rig: Rig) -> None:
    rig.servers[Site.PRIVATE].hang = rig.servers[Site.SAGEMAKER].hang = True
    answer = rig.post(class_="P0")
    assert (answer.status, answer.site) == (200, "azure_ml")
    assert answer.seconds < 2.5


@pytest.mark.parametrize("why", ["", LOST_GPU])
def test_private_site_that_answers_500_is_left(rig: Rig, why: str) -> None:
    rig.servers[Site.PRIVATE].status, rig.servers[Site.PRIVATE].body = 500, json.dumps({"error": why}).encode()
    assert rig.sites_of([rig.post(class_="P0") for _ in range(12)]) == {"sagemaker": 12}
    assert len(rig.servers[Site.PRIVATE].seen) <= 6


def test_full_server_is_passed_over_but_not_ejected(rig: Rig) -> None:
    rig.servers[Site.PRIVATE].status = 503
    assert rig.sites_of([rig.post() for _ in range(12)]) == {"sagemaker": 12}
    rig.servers[Site.PRIVATE].status = 200
    assert rig.post().site == "private"


def test_errors_of_a_burst_container_spill_on(rig: Rig) -> None:
    rig.wait(rig.servers[Site.PRIVATE].stop())
    rig.servers[Site.SAGEMAKER].status = 500
    assert rig.post(class_="P0").site == "azure_ml"
    rig.servers[Site.AZURE_ML].status = 500
    assert rig.post(class_="P0").status == 502


def test_client_at_fault_gets_its_answer_and_does_not_spill(rig: Rig) -> None:
    for server in rig.servers.values():
        server.status, server.body = 400, b'{"error":"wrong shape"}'
    for stopped, site in ((None, "private"), (Site.PRIVATE, "sagemaker"), (Site.SAGEMAKER, "azure_ml")):
        if stopped:
            rig.wait(rig.servers[stopped].stop())
        answer = rig.post(class_="P0")
        assert (answer.status, answer.site, answer.body) == (400, site, b'{"error":"wrong shape"}')


def test_quota_of_a_cloud_spills_on(rig: Rig) -> None:
    rig.servers[Site.PRIVATE].ready = False
    rig.servers[Site.SAGEMAKER].status = 429
    eventually(lambda: not rig.passes_checks(Site.PRIVATE))
    assert rig.post(class_="P0").site == "azure_ml"


def test_closed_site_gets_nothing_of_that_class(rig: Rig) -> None:
    rig.servers[Site.PRIVATE].status = 500
    rig.open(lambda site, request_class: site == Site.PRIVATE or request_class == "P0")
    eventually(lambda: rig.post(class_="P1").status in (500, 503))
    assert rig.post(class_="P0").site == "sagemaker"
    rig.open()
    eventually(lambda: rig.post(class_="P1").site == "sagemaker")


def test_aws_credentials_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def from_environment(table: RoutingTable) -> RoutingTable:
        auth = SigV4(region="eu-west-1")
        sites = [s.model_copy(update={"auth": auth}) if s.site == Site.SAGEMAKER else s for s in table.sites]
        return table.model_copy(update={"sites": tuple(sites)})

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    with Rig(tmp_path, from_environment) as rig:
        rig.servers[Site.PRIVATE].status = 503
        assert rig.post(headers={"x-spillway-key": ALPHA}).site == "sagemaker"


def test_wrong_cloud_credentials_do_not_reach_the_client(tmp_path: Path) -> None:
    def wrong_key(table: RoutingTable) -> RoutingTable:
        (tmp_path / "aws").write_text("[default]\naws_access_key_id = AKIATEST\naws_secret_access_key = wrong\n")
        return table

    with Rig(tmp_path, wrong_key) as rig:
        rig.wait(rig.servers[Site.PRIVATE].stop())
        answer = rig.post(class_="P0", headers={"x-spillway-key": ALPHA})
        assert (answer.status, answer.site) == (200, "azure_ml")
        assert rig.servers[Site.SAGEMAKER].seen == []
        assert hash_key(ALPHA) in (tmp_path / "envoy.yaml").read_text()


@pytest.mark.parametrize("fault", ["kill", "hang", "errors", "slow"])
def test_no_p0_request_is_lost_under_load(roomy_rig: Rig, fault: str) -> None:
    """40 requests a second for 5 s; the fault begins after 1 s and ends after 3 s."""
    rig = roomy_rig
    slow(rig, 0.02)
    private = rig.servers[Site.PRIVATE]
    lost_after = PROMISES[RequestClass.P0].lost_after_s
    with ThreadPoolExecutor(64) as pool:
        waiting = []
        started = time.monotonic()
        for number in range(200):
            time.sleep(max(0.0, started + number / 40 - time.monotonic()))
            if number == 40:
                # In a thread of its own: stopping takes a while, and the load must not wait for it.
                pool.submit(begin, rig, fault)
            if number == 120:
                pool.submit(end, rig, fault)
            waiting.append(pool.submit(rig.post, class_="P0"))
        answers = [future.result() for future in waiting]
    lost = [(a.status, a.site, round(a.seconds, 2)) for a in answers if a.status != 200 or a.seconds > lost_after]
    assert lost == []
    assert rig.sites_of(answers).keys() >= {"private", "sagemaker"}
    eventually(lambda: rig.post(class_="P0").site == "private", within_s=20)
    assert private.seen


def begin(rig: Rig, fault: str) -> None:
    private = rig.servers[Site.PRIVATE]
    match fault:
        case "kill":
            rig.wait(private.stop())
        case "hang":
            private.hang = True
        case "errors":
            private.status = 500
        case "slow":
            private.delay_s = 3.0


def end(rig: Rig, fault: str) -> None:
    private = rig.servers[Site.PRIVATE]
    private.hang, private.status, private.delay_s = False, 200, 0.02
    if fault == "kill":
        rig.wait(private.start())


@pytest.mark.parametrize(
    "why",
    [
        "Unable to parse 'data': attempt to access JSON non-number as double",
        "failed to parse the request JSON buffer: Invalid value. at 12",
        "failed to get request params.: attempt to get members for non-object",
        "Unable to parse JSON bytes array: attempt to access JSON non-string as string",
        "Unable to set 'classification': attempt to access JSON non-unsigned-integer as unsigned-integer",
        "attempt to get members for non-object",
    ],
)
def test_what_triton_cannot_read_is_the_client_s_fault_at_every_site(rig: Rig, why: str) -> None:
    """Triton 2.51 answers such requests with 500 and these words (asked of the real server)."""
    said = json.dumps({"error": why}).encode()
    for server in rig.servers.values():
        server.status, server.body = 500, said
    for stopped, site in ((None, "private"), (Site.PRIVATE, "sagemaker"), (Site.SAGEMAKER, "azure_ml")):
        if stopped:
            rig.wait(rig.servers[stopped].stop())
        answer = rig.post(class_="P0")
        assert (answer.status, answer.site, answer.body) == (400, site, said)
    assert [len(server.seen) for server in rig.servers.values()] == [1, 1, 1]


@pytest.mark.parametrize("status", [503, 500])
def test_sites_that_fail_at_everything_are_not_asked_more_for_it(rig: Rig, status: int) -> None:
    """A brown-out of all sites: each is asked once by a request, by P0's once more in its second round, however many
    there are at once. The private one, where it is broken and not only full, is not asked at all after a few; of the
    others the agent judges."""
    for server in rig.servers.values():
        server.status = status
    for class_, tries in (("P1", 1), ("P2", 1), ("P0", 2)):
        before = [len(server.seen) for server in rig.servers.values()]
        answers = [rig.post(class_=class_) for _ in range(10)] + rig.at_once(20, class_=class_)
        assert {answer.status for answer in answers} <= {500, 502, 503}
        asked = [len(server.seen) - count for server, count in zip(rig.servers.values(), before, strict=True)]
        assert max(asked) <= len(answers) * tries
        if status == 500:
            assert asked[0] < len(answers)


@pytest.mark.parametrize("percent", [100.0, 1.0])
def test_a_retry_budget_spares_the_gateway_in_a_brown_out_and_stops_no_spilling(tmp_path: Path, percent: float) -> None:
    """All sites refuse after a while. Slots bound what each holds at once, with a budget or without; with one, most
    requests are refused by the first site's word, as nobody could take them. P2 has one slot at each site here, and the
    rig's Envoy two threads, which may both take the last one: "eventually consistent", says
    https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/circuit_breaking."""

    def with_budget(table: RoutingTable) -> RoutingTable:
        classes = tuple(route.model_copy(update={"retry_budget_percent": percent}) for route in table.classes)
        return table.model_copy(update={"classes": classes})

    with Rig(tmp_path, with_budget) as rig:
        slow(rig, 0.2)
        sent = 0

        def overflowed() -> bool:
            nonlocal sent
            assert {answer.status for answer in rig.at_once(40, class_="P2")} == {503}
            sent += 40
            return tried("retry_overflow") > 0

        def tried(what: str) -> int:
            return rig.counted(f"cluster.P2-private-sagemaker-azure_ml.upstream_rq_{what}")

        for server in rig.servers.values():
            server.status = 503
        if percent < 100:
            eventually(overflowed, within_s=20, what="the budget is spent")
            assert tried("retry") < 2 * sent
        else:
            assert not overflowed()
            assert tried("retry") == 2 * sent
        assert all(server.most_running <= 2 for server in rig.servers.values())
        assert all(len(server.seen) <= sent for server in rig.servers.values())
        for server in rig.servers.values():
            server.status = 200
        assert rig.sites_of(together(rig, 6, "P2")).keys() == {"azure_ml", "private", "sagemaker"}


def test_faulty_requests_put_no_server_out(rig: Rig) -> None:
    """Twenty in a row; five 500s of a server that is not well put it out. What another request of the same batch may
    have brought is tried elsewhere; where there is nowhere else, its answer is the server's own."""
    private = rig.servers[Site.PRIVATE]
    private.status = 500
    for why, status, tries in (("Unable to parse 'data'", 400, 1), (OUT_OF_BOUNDS, 200, 2), (NO_BROADCAST, 200, 2)):
        private.body = json.dumps({"error": why}).encode()
        before = seen(rig)
        assert {rig.post(class_="P0").status for _ in range(20)} == {status}
        assert seen(rig) - before == 20 * tries
    there = {"x-spillway-operator-key": OPERATOR_KEY, "x-spillway-site": "private"}
    answer = rig.post(class_="P0", headers=there)
    assert (answer.status, answer.site, answer.body) == (500, "private", private.body)
    assert "x-spillway-failed-input" not in answer.headers
    private.status = 200
    assert rig.post(class_="P0").site == "private"


def seen(rig: Rig) -> int:
    return sum(len(server.seen) for server in rig.servers.values())


@pytest.mark.parametrize(
    "body", [b"{}", b'{"input":"hello"}', b'{"inputs":"hello"}', b'{"inputs":{}}', b'{"inputs":[1]}']
)
def test_what_is_no_request_is_tried_nowhere(rig: Rig, body: bytes) -> None:
    answer = rig.post(class_="P0", body=body)
    assert answer.status == 400
    assert b"KServe v2" in answer.body
    assert all(server.seen == [] for server in rig.servers.values())
    assert rig.post(class_="P0", body=b'{"id":"a","inputs" : [ ]}').status == 200
