"""Plans as files: those that are shipped, what a file may say, and what is measured of it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner
from dnslib.server import DNSLogger, DNSServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spillway.cli.main import cli
from spillway.contracts.classes import RequestClass, Site
from spillway.drill.breaker import Breaker
from spillway.drill.load import Outcome
from spillway.drill.plan import DrillPlan, Fault, Phase
from spillway.drill.plan_file import about, find_plan, read_plan, schema_text, shipped
from spillway.drill.resolver import Resolver
from spillway.drill.result import recovery_s
from spillway.drill.run import run_drill
from spillway.drill.target import DrillError, DrillTarget
from spillway.drill.workload import sentences
from spillway.twin.data_plane.processes.child import free_port
from spillway.twin.data_plane.processes.dns import Record, ZoneData
from spillway.twin.data_plane.processes.dns import Resolver as Zone
from tests.drill.gateway import FakeGateway, serve
from tests.support.oddities import is_told, odd_texts, odd_values

P0, P1, P2 = RequestClass
NAME = "inference.spillway.test"


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_plan_is_one_and_can_fail(name: str) -> None:
    path = shipped()[name]
    given = yaml.safe_load(path.read_text())
    jsonschema.validate(given, json.loads(schema_text()))
    plan = find_plan(name)
    assert plan.name == name
    assert about(path).endswith((".", ")")), "its first comment says what it is"
    bounds = ("min_availability", "min_on_time", "max_p99_ms", "max_recovery_s", "max_after_dns_s", "back_on")
    assert all(any(getattr(phase, bound) for bound in bounds) for phase in plan.phases)


def test_every_fault_of_the_issue_of_drills_is_shipped() -> None:
    """Whom and how: each is ordered by some plan, and ended by it."""
    plans = [find_plan(name) for name in shipped()]
    ordered = {(fault.group, fault.action) for plan in plans for phase in plan.phases for fault in phase.faults}
    assert ordered >= {
        *((Site.PRIVATE, action) for action in ("kill", "start", "hang", "resume", "slow", "fail", "heal")),
        *((group, action) for group in ("redis", "gateway-private", Site.SAGEMAKER) for action in ("kill", "start")),
        ("spill", "close"),
        ("spill", "open"),
    }


def test_the_command_lists_them() -> None:
    said = CliRunner().invoke(cli, ["drill", "--list", "--json"])
    assert json.loads(said.stdout).keys() == shipped().keys()


def write(folder: Path, text: str) -> Path:
    path = folder / "plan.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("phases", "more", "wrong"),
    [
        ("faults: [{group: spill, action: kill}]", "", "close and open go with spill"),
        ("faults: [{group: redis, action: close}]", "", "close and open go with spill"),
        ("max_after_dns_s: {P0: 20}", "", "give follow_dns: true"),
        ("rates: {P0: 5}", "trace: {path: trace.csv}", "give one of them"),
        ("max_p99_ms: {P0: 0}", "", r"phases\[0\]\.max_p99_ms\.P0 \(line 6\): given 0; allowed: greater than 0"),
        (
            "min_availabilty: {P0: 1}",
            "",
            r"phases\[0\]\.min_availabilty \(line 6\): .* did you mean min_availability\?",
        ),
        ("duration_s: 2", "", "line 6, column 5: the key 'duration_s' stands on line 5 too"),
        ("", "trace: {path: nowhere.csv}", "nowhere.csv: cannot be read"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_by_name(tmp_path: Path, phases: str, more: str, wrong: str) -> None:
    text = f"name: x\n{more}\nphases:\n  - name: a\n    duration_s: 1\n    {phases}\n"
    with pytest.raises(DrillError, match=wrong):
        read_plan(write(tmp_path, text))


WHOLE = {
    "name": "night",
    "seed": 3,
    "service_time_s": 0.1,
    "follow_dns": True,
    "rates": {"P0": 8, "P2": 2},
    "phases": [
        {"name": "before", "duration_s": 2, "rates": {"P0": 1.5}, "min_on_time": {"P0": 0.95}},
        {
            "name": "broken",
            "duration_s": 3.5,
            "faults": [{"group": "private", "action": "fail", "options": {"status": 500, "share": 0.5}}],
            "broken": ["private"],
            "min_availability": {"P0": 0.99},
            "max_p99_ms": {"P0": 900},
            "max_recovery_s": {"P0": 3},
            "max_after_dns_s": {"P0": 3},
            "back_on": "private",
        },
    ],
}


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(odd_values(WHOLE), odd_values(WHOLE, ("phases",)), odd_texts(WHOLE)))
def test_an_odd_plan_can_be_run_or_is_refused_with_its_place(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        plan, said = read_plan(path), ""
    except DrillError as refusal:
        plan, said = None, str(refusal)
    if plan is None:
        assert is_told(said, path), said
        return
    due = [arrival.due_s for arrival in plan.arrivals()]
    assert due == sorted(due)
    assert all(0 <= at < plan.duration_s < math.inf for at in due)


def test_a_plan_that_is_none_is_told_with_those_that_are() -> None:
    with pytest.raises(DrillError, match=r"'hun' is no file, and no plan that Spillway ships: .*hung"):
        find_plan("hun")


def test_a_phase_has_a_load_of_its_own() -> None:
    usual, triple = Phase("usual", 50.0), Phase("triple", 50.0, rates={P0: 30.0})
    plan = DrillPlan("surge", (usual, triple, usual), {P0: 10.0})
    dues = [arrival.due_s for arrival in plan.arrivals()]
    assert dues == sorted(dues)
    assert [arrival.index for arrival in plan.arrivals()] == list(range(len(dues)))
    counts = [sum(begin <= due < begin + 50 for due in dues) for begin in (0, 50, 100)]
    # Four standard deviations of Poisson counts.
    for count, expected in zip(counts, (500, 1500, 500), strict=True):
        assert abs(count - expected) < 4 * math.sqrt(expected)


def test_a_trace_is_sent_at_its_own_times(tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text("time,input_tokens,output_tokens\n0,1,1\n4,1,1\n10,1,1\n10.5,1,1\n90,1,1\n")
    text = "name: replay\ntrace: {path: trace.csv, speed: 2, from_s: 4}\nphases: [{name: all, duration_s: 10}]\n"
    plan = read_plan(write(tmp_path, text))
    assert [(one.due_s, one.request_class) for one in plan.arrivals()] == [(0, P0), (3, P0), (3.25, P0)]


def outcomes(late: set[float], every_s: float = 0.004, until_s: float = 10.0) -> list[Outcome]:
    times = [round(number * every_s, 3) for number in range(int(until_s / every_s))]
    return [Outcome(at, P0, 0.9 if at in late else 0.1, 200, "private") for at in times]


@pytest.mark.parametrize(
    ("late", "expected"),
    [
        (set(), 0.0),
        ({2.5, 2.6, 4.8}, 0.0),
        ({0.2, 0.3, 0.4, 0.5}, 0.3),
        ({round(0.004 * number, 3) for number in range(200)}, 0.788),
        ({round(0.004 * number, 3) for number in range(2500)}, None),
    ],
)
def test_recovery_is_when_p99_stays_within_the_promise(late: set[float], expected: float | None) -> None:
    """Of 250 requests a second, two may be late in each."""
    found = recovery_s(outcomes(late), 0.0)
    assert found == (None if expected is None else pytest.approx(expected, abs=0.001))


@pytest.mark.heavy
def test_bounds_of_time_decide_the_verdict() -> None:
    gateway = FakeGateway(outage_s=0.6)
    kill, start = Fault(Site.PRIVATE, "kill"), Fault(Site.PRIVATE, "start")
    killed = Phase("killed", 3.0, (kill,), (Site.PRIVATE,))
    again = Phase("killed again", 3.0, (start, kill), (Site.PRIVATE,))
    phases = (
        replace(killed, max_recovery_s={P0: 0.1}, max_p99_ms={P0: 0.001}, min_on_time={P0: 1.0}),
        replace(again, max_recovery_s={P0: 2.9}, max_p99_ms={P0: 2500.0}, min_on_time={P0: 0.0}),
    )
    with serve(gateway) as url:
        result = run_drill(DrillTarget(url, "minilm", sentences(), faults=gateway), DrillPlan("x", phases, {P0: 60.0}))
    verdicts = {check.name: check.passed for check in result.checks}
    assert verdicts == {
        "killed: P0 ≥ 100% on time": False,
        "killed: P0 P99 ≤ 0 ms": False,
        "killed: P0 recovered within 0.1 s": False,
        "killed again: P0 ≥ 0% on time": True,
        "killed again: P0 P99 ≤ 2500 ms": True,
        "killed again: P0 recovered within 2.9 s": True,
        "no wrong answer": True,
    }
    recovery = result.phases[0].recovery_s["P0"]
    assert recovery is not None
    assert recovery > 0.3


class Failover:
    """Two gateways, a name that points to the first while that is well, and who kills it."""

    def __init__(self) -> None:
        self.first, self.second = FakeGateway(outage_s=math.inf), FakeGateway()
        self.pointing = 0
        """Looks at the name that still find it where an earlier drill left it."""

    def fault(self, group: str, action: str, **_: float) -> None:
        if group == "gateway-private":
            self.first.fault(Site.PRIVATE, action)

    def __call__(self) -> ZoneData:
        first = Record(NAME, "A", 2, failover="PRIMARY", health_check="heart")
        records = {(NAME, "A"): (first, Record(NAME, "A", 2, failover="SECONDARY"))}
        self.pointing -= 1
        well = self.pointing < 0 and ("private", "kill") not in self.first.orders
        return ZoneData(records, ("spillway.test",), {"heart": well})


@pytest.mark.heavy
def test_clients_follow_dns_when_its_answer_is_old() -> None:
    """They believe it for its TTL of two seconds, and let go of connections to where it no longer points."""
    pair, port, dns_port = Failover(), free_port(), free_port()
    pair.pointing = 1
    zone = Zone(pair, {"PRIMARY": "127.0.0.1", "SECONDARY": "127.0.0.2"})
    server = DNSServer(zone, address="127.0.0.1", port=dns_port, logger=DNSLogger("error"))
    server.start_thread()
    killed = Phase("killed", 4.0, (Fault("gateway-private", "kill"),), max_after_dns_s={P0: 20.0})
    plan = DrillPlan("x", (Phase("well", 0.5), killed), {P0: 40.0}, follow_dns=True)
    try:
        with serve(pair.first, port=port), serve(pair.second, "127.0.0.2", port):
            resolver = Resolver(NAME, f"127.0.0.1:{dns_port}", home="127.0.0.1")
            target = DrillTarget(f"http://{NAME}:{port}", "minilm", sentences(), faults=pair, resolver=resolver)
            result = run_drill(target, plan)
    finally:
        server.stop()
    assert result.passed, result.checks
    well, dead = result.phases
    assert well.moved_s is None
    assert dead.moved_s is not None
    assert 0 < dead.classes["P0"].lost < dead.classes["P0"].requests
    # Some may have been answered too late.
    assert 0 < sum(dead.classes["P0"].answered.values()) <= pair.second.hits


def test_a_name_that_is_nowhere_is_told() -> None:
    target = DrillTarget("http://nowhere.test:1", "m", sentences(), resolver=Resolver("nowhere.test", "127.0.0.1:9"))
    with pytest.raises(DrillError, match=r"nowhere\.test has no address in DNS"):
        run_drill(target, find_plan("load"))


def test_a_program_breaks_a_site_of_ones_own(tmp_path: Path) -> None:
    program = tmp_path / "breaker"
    program.write_text('#!/bin/sh\necho "$@" >> "$0.log"\n[ "$1" = private ] || { echo "no such site" >&2; exit 3; }\n')
    program.chmod(0o755)
    breaker = Breaker(str(program))
    breaker.fault("private", "fail", status=500, share=0.5)
    assert (tmp_path / "breaker.log").read_text() == "private fail status=500 share=0.5\n"
    with pytest.raises(RuntimeError, match="ended with 3: no such site"):
        breaker.fault("azure_ml", "kill")
    with pytest.raises(RuntimeError, match="No such file"):
        Breaker(str(tmp_path / "none")).fault("private", "kill")
