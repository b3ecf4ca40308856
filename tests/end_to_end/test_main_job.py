"""The main job on one twin, with the words a user types, in order: up, what is deployed, who answers, what is refused,
a dead site, a cut-off, down, and up again.
"""

from __future__ import annotations

import json
import math
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import pytest
import urllib3
import yaml
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from spillway.contracts.classes import CLIENT_KEY_HEADER, OPERATOR_KEY_HEADER, SITE_HEADER, Site
from spillway.contracts.routing import token_name
from spillway.drill.target import DrillTarget
from spillway.drill.workload import first_output, infer_body
from spillway.runtime.gateway.tokens import read_token
from tests.end_to_end.site import INFER, ROOT, Answer, LocalSite, post
from tests.support.overflow import EchoWorkload, check_capacity
from tests.support.pages import block, run
from tests.support.paths import DOCS
from tests.support.server_routes import ADMINISTRATION
from tests.support.waiting import eventually

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]

README, TUTORIAL = ROOT / "README.md", DOCS / "tutorial.md"
STATUS = DOCS / "how-to" / "status.md"
SENTENCES = ("The private cluster is full and the next request spills.", "Wo ist meine Bestellung?", "word " * 300)
NAME = "inference.spillway.test"
PARAMETER = "/spillway-local/spill-cutoff"


# Up


def test_up_makes_everything_and_every_site_is_ready(site: LocalSite) -> None:
    assert site.up["changes"]["create"] > 120
    status = site.spillway("status")
    assert {found["name"]: found["ready"] for found in status["sites"]} == dict.fromkeys(Site, True)


def test_the_requests_that_up_prints_are_answered(site: LocalSite) -> None:
    for line in site.up["curl"]:
        said = subprocess.run(line, shell=True, cwd=site.project, capture_output=True, check=True)
        assert first_output(said.stdout)


def test_a_second_up_changes_nothing_and_restarts_nothing(site: LocalSite) -> None:
    """As the tutorial has it, where a key was changed before."""
    said = shown(site, TUTORIAL, "spillway preview --diff")
    assert len(re.findall(r"^\d+ resources; \d+ same(?:;|$)", said, re.MULTILINE)) == 2, said
    again = site.spillway("status")
    assert [process["pid"] for process in again["processes"]] == [process["pid"] for process in site.up["processes"]]


def test_what_the_pages_show_is_so(site: LocalSite) -> None:
    for said in (shown(site, TUTORIAL, "spillway status"), shown(site, STATUS, "spillway status")):
        assert all(place in said for place in Site)
    assert "x-spillway-site: private" in shown(site, TUTORIAL, "curl")
    assert "x-spillway-site: private" in shown(site, README, "spillway up")
    assert "$/h at peak" in shown(site, TUTORIAL, "spillway preview -s prod")


def shown(site: LocalSite, page: Path, begins: str) -> str:
    """What a block of a page prints."""
    return run(block(page, begins), site.project, dict.fromkeys(("PORT", "35279"), site.gateway.rpartition(":")[2]))


# What is deployed


def test_plain_boto3_lists_the_endpoint_and_its_autoscaling_target(site: LocalSite) -> None:
    endpoint = site.up["outputs"]["endpoints"]["sagemaker"]
    described = site.aws("sagemaker").describe_endpoint(EndpointName=endpoint)
    assert described["EndpointStatus"] == "InService"
    targets = site.aws("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")
    bounds = {t["ResourceId"]: (t["MinCapacity"], t["MaxCapacity"]) for t in targets["ScalableTargets"]}
    assert bounds[f"endpoint/{endpoint}/variant/{described['ProductionVariants'][0]['VariantName']}"] == (1, 2)


def test_plain_boto3_lists_failover_records_with_their_health_check(site: LocalSite) -> None:
    route53 = site.aws("route53")
    (zone,) = (z for z in route53.list_hosted_zones()["HostedZones"] if z["Name"] == "spillway.test.")
    records = route53.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]
    pair = {r["Failover"]: r for r in records if r["Name"] == f"{NAME}." and "Failover" in r}
    assert pair.keys() == {"PRIMARY", "SECONDARY"}
    assert pair["SECONDARY"]["AliasTarget"]["DNSName"] == site.up["outputs"]["gateways"]["standby"]

    def check(identifier: str) -> dict[str, Any]:
        return route53.get_health_check(HealthCheckId=identifier)["HealthCheck"]["HealthCheckConfig"]

    # From inside and from outside; this gateway has no certificate.
    both = [check(child) for child in check(pair["PRIMARY"]["HealthCheckId"])["ChildHealthChecks"]]
    (heart,) = (one for one in both if one["Type"] == "CLOUDWATCH_METRIC")
    (way_in,) = (one for one in both if one["Type"] == "HTTP")
    assert heart["AlarmIdentifier"]["Name"] == site.up["outputs"]["alarms"]["heartbeat"]
    assert way_in["ResourcePath"] == "/healthz"


def test_plain_boto3_lists_alarms_and_budget(site: LocalSite) -> None:
    said = site.up["outputs"]["alarms"]
    alarms = {a["AlarmName"]: a for a in site.aws("cloudwatch").describe_alarms()["MetricAlarms"]}
    assert {said[name] for name in ("heartbeat", "blended", "burst-ceiling", "latency-p99")} <= alarms.keys()
    heartbeat = alarms[said["heartbeat"]]
    assert (heartbeat["Period"], heartbeat["TreatMissingData"]) == (60, "breaching")
    assert alarms[said["blended"]]["Threshold"] == 1.2
    budgets = site.aws("budgets").describe_budgets(AccountId="123456789012")["Budgets"]
    assert [float(budget["BudgetLimit"]["Amount"]) for budget in budgets] == [2000]


# Who answers


@pytest.fixture(scope="module")
def expected() -> dict[str, list[float]]:
    """Torch's own answers, in fp32, each sentence alone."""
    import torch

    from model_packaging.config import load_config
    from model_packaging.tensors.config import TensorConfig
    from model_packaging.tensors.source import load

    config = load_config(ROOT / "model_packaging" / "examples" / "minilm" / "model.yaml")
    assert isinstance(config, TensorConfig)
    model = load(config)
    assert model.text is not None
    with torch.no_grad():
        return {text: model.module(**model.text.encode([text]))[0].tolist() for text in SENTENCES}


@pytest.mark.parametrize("place", Site)
def test_an_operator_gets_torchs_embedding_from_each_site(
    site: LocalSite, expected: dict[str, list[float]], place: Site
) -> None:
    for text, vector in expected.items():
        answer = site.ask(text, site=place, key=site.operator_key)
        assert (answer.status, answer.site) == (200, place)
        assert cosine(answer.vector, vector) > 0.999


def test_every_site_gives_the_same_embedding(site: LocalSite) -> None:
    vectors = {place: site.ask(SENTENCES[0], site=place, key=site.operator_key).vector for place in Site}
    assert all(len(vector) == 384 for vector in vectors.values())
    assert vectors[Site.SAGEMAKER] == pytest.approx(vectors[Site.PRIVATE], abs=1e-4)
    assert vectors[Site.AZURE_ML] == pytest.approx(vectors[Site.PRIVATE], abs=1e-4)


def test_a_job_that_a_client_leaves_is_answered_later_by_the_same_model(
    site: LocalSite, expected: dict[str, list[float]]
) -> None:
    """Kept in S3 and SQS, handed on by an agent with the rights that the stack gave it, fetched through the gateway."""
    text = SENTENCES[0]
    key = {"x-spillway-key": site.client_key}
    asked = {**key, "x-spillway-class": "P2", "prefer": "respond-async", "content-type": "application/json"}
    kept = urllib3.request("POST", f"{site.gateway}{INFER}", body=infer_body("TEXT", text), headers=asked)
    assert kept.status == 202, kept.data
    place = f"{site.gateway}{kept.headers['location']}"
    eventually(lambda: urllib3.request("GET", place, headers=key).status == 200, 40, "the job's answer")
    found = first_output(urllib3.request("GET", place, headers=key).data)
    assert found is not None
    assert cosine(found, expected[text]) > 0.999


def test_without_the_operators_key_the_choice_is_ignored(site: LocalSite) -> None:
    for key in (None, "", "no-such-key", site.client_key):
        answer = site.ask(site=Site.AZURE_ML, key=key)
        assert (answer.status, answer.site) == (200, Site.PRIVATE), key


@pytest.mark.parametrize("gateway", ["private", "standby"])
def test_nobody_administers_a_model_server_through_a_gateway(site: LocalSite, gateway: str) -> None:
    url = site.up["gateways"][gateway]
    operator = {"x-spillway-operator-key": site.operator_key}
    for headers in ({}, operator, *({**operator, "x-spillway-site": place.value} for place in Site)):
        for method, path in ADMINISTRATION:
            answer = urllib3.request(method, f"{url}{path}", body=b"{}", headers=headers, retries=False)
            assert answer.status == 403, f"{method} {path}"


def tensor(besides: dict[str, Any] | None = None, **changes: Any) -> bytes:
    whole = {"name": "TEXT", "shape": [1, 1], "datatype": "BYTES", "data": ["Short."]}
    left = {key: value for key, value in {**whole, **changes}.items() if value is not None}
    return json.dumps({"inputs": [left], **(besides or {})}).encode()


NO_UTF8 = json.dumps(
    {"inputs": [{"name": "TEXT", "shape": [1, 1], "datatype": "BYTES", "parameters": {"binary_data_size": 6}}]}
).encode()
FAULTY = {
    "a number as a text": tensor(data=[7]),
    "more than there is": tensor(shape=[2, 1]),
    "no size": tensor(shape="x"),
    "less than nothing": tensor(shape=[-1, 1]),
    "more than a machine holds": tensor(shape=[1 << 40, 1 << 20]),
    "another type": tensor(datatype="FP32"),
    "a type that is none": tensor(datatype="TEXT"),
    "another input": tensor(name="IMAGE"),
    "no data": tensor(data=None),
    "no name": tensor(name=None),
    "a request that was cut off": tensor()[:-20],
    "an id that is a number": tensor({"id": 7}),
    "outputs that are no list": tensor({"outputs": {}}),
    "an output that is none": tensor({"outputs": [{"name": "IMAGE"}]}),
    "classes that are no number": tensor({"outputs": [{"name": "EMBEDDING", "parameters": {"classification": "x"}}]}),
    "no UTF-8": NO_UTF8 + b"\x02\x00\x00\x00\xff\xfe",
}


@pytest.mark.parametrize("place", Site)
def test_a_faulty_request_is_refused_as_such_at_each_site(site: LocalSite, place: Site) -> None:
    """As by the private site's own Triton; never as a fault of the site's, which would be tried elsewhere."""
    headers = {OPERATOR_KEY_HEADER: site.operator_key, SITE_HEADER: place}
    answers = {what: faulty(site, body, headers) for what, body in FAULTY.items()}
    assert {what: answer.status for what, answer in answers.items()} == dict.fromkeys(FAULTY, 400)


def test_faulty_requests_put_no_site_out(site: LocalSite) -> None:
    for body in FAULTY.values():
        assert {faulty(site, body, {}).status for _ in range(6)} == {400}
        assert site.ask().site == Site.PRIVATE


def faulty(site: LocalSite, body: bytes, headers: dict[str, str]) -> Answer:
    head = {"inference-header-content-length": str(len(NO_UTF8))} if body.startswith(NO_UTF8) else {}
    return post(site.gateway + INFER, body, {CLIENT_KEY_HEADER: site.client_key, **head, **headers})


def cosine(left: list[float], right: list[float]) -> float:
    assert len(left) == len(right)
    return sum(a * b for a, b in zip(left, right, strict=True)) / math.hypot(*left) / math.hypot(*right)


# What the burst fronts refuse

BODY = infer_body("TEXT", "Short.")


class Front:
    """A burst site's front, called past the gateway."""

    def __init__(self, site: LocalSite, place: Site) -> None:
        self.route = site.route(place)
        assert self.route.tls is not None
        self._pool = urllib3.HTTPSConnectionPool(
            self.route.host,
            self.route.port,
            ca_certs=self.route.tls.ca_file,
            server_hostname=self.route.tls.sni,
            assert_hostname=self.route.tls.sni,
            retries=False,
        )

    @property
    def path(self) -> str:
        return next(rule.upstream for rule in self.route.paths if rule.client == INFER)

    def post(self, headers: dict[str, str], path: str = "", body: bytes = BODY) -> int:
        headers = {"Host": self.route.authority, "Content-Type": "application/json", **headers}
        return self._pool.request("POST", path or self.path, body=body, headers=headers).status


def signed(front: Front, credentials: Credentials, path: str = "", host: str = "", region: str = "us-east-1") -> Any:
    headers = {"Host": host or front.route.authority, "Content-Type": "application/json"}
    request = AWSRequest("POST", f"https://{headers['Host']}{path or front.path}", headers, BODY)
    SigV4Auth(credentials, "sagemaker", region).add_auth(request)
    return dict(request.headers)


def test_the_sagemaker_front_refuses_what_aws_would(site: LocalSite) -> None:
    front = Front(site, Site.SAGEMAKER)
    known = Credentials(**json.loads((site.state_dir / "credentials-private.json").read_text()))
    elsewhere = "/endpoints/other/invocations"
    other_host = "runtime.sagemaker.eu-west-1.amazonaws.com"
    assert front.post(signed(front, known)) == 200
    assert front.post({}) == 403
    assert front.post(signed(front, Credentials(known.access_key, "wrong"))) == 403
    assert front.post(signed(front, Credentials("AKIAWRONG", known.secret_key))) == 403
    assert front.post(signed(front, known, region="eu-west-1")) == 403
    assert front.post(signed(front, known), body=BODY.replace(b"Short.", b"Other!")) == 403
    assert front.post(signed(front, known), path=elsewhere) == 403
    assert front.post(signed(front, known, elsewhere), path=elsewhere) == 400
    assert front.post(signed(front, known, host=other_host)) == 404


def test_the_azure_front_refuses_what_azure_would(site: LocalSite) -> None:
    front = Front(site, Site.AZURE_ML)
    token = read_token(site.state_dir / "gateway-private" / "run" / "secrets" / f"{token_name(Site.AZURE_ML)}.json")
    good = {"Authorization": f"Bearer {token}"}
    assert front.post(good) == 200
    assert front.post({}) == 401
    assert front.post({"Authorization": "Bearer a-key"}) == 401
    assert front.post({**good, "Host": "other.eastus.inference.ml.azure.com"}) == 404
    assert front.post(good, path="/swagger.json") == 404


# A dead site


def test_no_p0_request_is_lost_while_the_private_site_is_dead(site: LocalSite) -> None:
    shown(site, TUTORIAL, "spillway drill")
    result = json.loads((site.state_dir / "drill.json").read_text())
    assert result["passed"], result["checks"]
    phases = {phase["name"]: phase for phase in result["phases"]}
    killed, returns = phases["private killed"], phases["private returns"]
    assert killed["classes"]["P0"]["requests"] > 50
    assert killed["classes"]["P0"]["lost"] == 0
    assert Site.PRIVATE not in killed["classes"]["P0"]["answered"]
    assert returns["classes"]["P0"]["lost"] == 0
    assert returns["back_share"] > 0.9
    assert (site.state_dir / "drill.html").read_text().startswith("<!doctype html>")


# The spill cut-off


@contextmanager
def private_dead(site: LocalSite) -> Iterator[None]:
    site.twin.fault(Site.PRIVATE, "kill")
    try:
        yield
    finally:
        site.twin.fault(Site.PRIVATE, "start")
        eventually(lambda: site.ask().site == Site.PRIVATE, within_s=60)


def close_spill(site: LocalSite, *classes: str) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    state = {"closed": classes, "scale_to_minimum": False, "reason": "test", "since": now}
    site.aws("ssm").put_parameter(Name=PARAMETER, Value=json.dumps(state), Type="String", Overwrite=True)


def test_a_closed_class_stops_spilling_and_p0_goes_on(site: LocalSite) -> None:
    with private_dead(site):
        eventually(lambda: site.ask(class_="P1").site == Site.SAGEMAKER, within_s=10)
        close_spill(site, "P2", "P1")
        # Read once a second; what is left is for the read itself on a busy machine.
        closed_s = eventually(lambda: site.ask(class_="P1").status == 503, within_s=2.5)
        p0, p2 = site.ask(class_="P0"), site.ask(class_="P2")
        close_spill(site)
        opened_s = eventually(lambda: site.ask(class_="P1").status == 200, within_s=2.5)
    assert (p0.status, p0.site) == (200, Site.SAGEMAKER)
    assert p2.status == 503
    print(f"closed after {closed_s:.2f} s, open after {opened_s:.2f} s")


# Failover between the gateways


def test_dns_moves_to_the_standby_gateway_and_back(site: LocalSite) -> None:
    private, standby = (address_of(site.up["gateways"][role]) for role in ("private", "standby"))
    eventually(lambda: looked_up(site) == private, within_s=90, pause_s=0.25)
    site.twin.fault("gateway-private", "kill")
    try:
        moved_s = eventually(lambda: looked_up(site) == standby, within_s=240, pause_s=0.25)
        for class_ in ("P0", "P1"):
            answer = site.ask(class_=class_, gateway=site.up["gateways"]["standby"])
            assert (answer.status, answer.site) == (200, Site.SAGEMAKER)
            assert len(answer.vector) == 384
    finally:
        site.twin.fault("gateway-private", "start")
    back_s = eventually(lambda: looked_up(site) == private, within_s=240, pause_s=0.25)
    assert site.ask().site == Site.PRIVATE
    print(f"standby after {moved_s:.0f} s, private again after {back_s:.0f} s")


def looked_up(site: LocalSite) -> str:
    host, _, port = site.up["dns"].partition(":")
    answer = dns.query.udp(dns.message.make_query(NAME, "A"), host, timeout=5, port=int(port))
    return str(next(iter(answer.answer[0])))


def address_of(url: str) -> str:
    return url.removeprefix("http://").partition(":")[0]


# Down


def test_down_leaves_no_process_and_no_open_port(site: LocalSite) -> None:
    listening = site.listening()
    assert len(listening) > 15
    ports = json.loads((site.state_dir / "ports.json").read_text())
    exposed = {port for address, port in listening if not address.removeprefix("::ffff:").startswith("127.")}
    # Triton 2.51 has no address option for its SageMaker front end.
    assert exposed == {ports["sagemaker/sagemaker"]}
    assert site.spillway("down")["stopped"]
    assert site.processes() == []
    assert [place for place in listening if is_open(*place)] == []
    regions = [f"spillway_triton_{ports[f'{place}/http']}_*" for place in Site]
    assert [found for region in regions for found in Path("/dev/shm").glob(region)] == []
    assert site.spillway("status", code=1)["running"] is False


def is_open(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0


# Up again, with fewer slots by the stack file, and overflow of a model that takes 0.8 s in each of them

SLOTS = {Site.PRIVATE: 4, Site.SAGEMAKER: 2, Site.AZURE_ML: 2}


@pytest.fixture(scope="module")
def fewer_slots(site: LocalSite) -> LocalSite:
    path = site.project / "config" / "Pulumi.local.yaml"
    stack = yaml.safe_load(path.read_text())
    stack["config"]["spillway:gateway"]["slots"] = {str(place): {"slots": count} for place, count in SLOTS.items()}
    # By default it follows the package's slots, which so few would never reach.
    stack["config"]["spillway:burst"]["sagemaker"].setdefault("autoscaling", {})["target"] = 1
    # Which is what the exempt rule says of slots that do not follow the instances.
    fixed = {"rule": "gateway-follows-capacity", "resource": "*", "reason": "So few slots spill soon"}
    stack["config"]["spillway:policies"].setdefault("services_accept", {})["exempt"] = [fixed]
    path.write_text(yaml.safe_dump(stack))
    site.deploy()
    return site


def test_up_after_down_makes_again_what_the_emulated_cloud_forgot(fewer_slots: LocalSite) -> None:
    assert fewer_slots.up["refreshed"]
    assert fewer_slots.up["changes"]["create"] > 50
    assert {place: fewer_slots.route(place).slots for place in Site} == SLOTS


@pytest.fixture(scope="module")
def slow_models(fewer_slots: LocalSite) -> DrillTarget:
    assert fewer_slots.twin.reconcile(service_time_s=0.8).problems == ()
    return DrillTarget(fewer_slots.gateway, "minilm", EchoWorkload(), client_key=fewer_slots.client_key)


@pytest.mark.parametrize(
    ("at_once", "by_site"),
    [
        (4, {"private": 4}),
        (5, {"private": 4, "sagemaker": 1}),
        (7, {"private": 4, "sagemaker": 2, "azure_ml": 1}),
    ],
)
def test_what_does_not_fit_spills_in_order(slow_models: DrillTarget, at_once: int, by_site: dict[str, int]) -> None:
    found = check_capacity(slow_models, at_once)
    assert (found.by_site, found.problems) == (by_site, ())
    assert found.slowest_s < 1.6, "nobody waited for a slot"


def test_destroy_and_purge_leave_nothing(site: LocalSite) -> None:
    assert "0 resources are kept" in shown(site, TUTORIAL, "spillway down --destroy")
    site.spillway("down", "--purge")
    assert site.processes() == []
    assert not site.state_dir.exists()
