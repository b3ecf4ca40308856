"""The prod stack in its stages: foundation, image, delegation, tunnel, site and its first answer.

Once on the embedded deployer, and once as the command does it on the real engine.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import dnslib
import dnslib.server
import pytest
import yaml

from spillway.cli.console import Reporter
from spillway.cli.deploy import StackHands
from spillway.cli.stack import Stack
from spillway.contracts.classes import CLIENT_KEY_HEADER
from spillway.twin.data_plane.processes.child import free_port
from spillway.twin.deployer.embedded import EmbeddedDeployer
from spillway.twin.deployer.language_host import language_host
from spillway.twin.deployer.project import read_project
from spillway.twin.deployer.providers import StandIns
from spillway.twin.protocol import debug_providers, serve
from stacks.first_answer import Asker
from stacks.routing import probe_of
from stacks.staged_deployment import STAGE_KEY, Deployment, Dns
from stacks.stages import StageName, steps_of
from tests.program.site import Site, site
from tests.stacks.files import PASSPHRASE, changed, project
from tests.support.tls_gateway import Gateway, gateway

pytestmark = pytest.mark.heavy

HOST = "inference.example.com"
ADDRESS = "127.77.7.7"
"""Where the finished site answers: a loopback address of its own, since a name has no port."""
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/spillway/runtime:1.0.0"
KEY = "the-assistant_key-of-the-tests"

AWS = """\
#!{python}
import socket
server = socket.create_server(("127.0.0.1", {port}))
while True:
    server.accept()[0].close()
"""
"""In place of the AWS CLI with its plugin: listens at the tunnel's near end."""

DOCKER = """\
#!{python}
import json, pathlib, sys
with open({log!r}, "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
match sys.argv[1:]:
    case ["login", *_]:
        pathlib.Path({log!r}).with_name("password").write_text(sys.stdin.read())
    case ["push", image]:
        import boto3
        name, _, tag = image.partition("/")[2].partition(":")
        manifest = {{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": []}}
        ecr = boto3.client("ecr", region_name="us-east-1")
        ecr.put_image(repositoryName=name, imageManifest=json.dumps(manifest), imageTag=tag)
    case ["image", "inspect", *_, image]:
        print(image.partition(":")[0] + "@sha256:" + "a" * 64)
"""
"""In place of Docker, which has the image already: what it pushes is in the emulated registry."""


REGISTRAR = "ZREGISTRAR"
"""A zone that was there before: whoever has the parent of the stack's."""


class Public(dnslib.server.BaseResolver):
    """Public DNS. Whoever is asked for a zone's name servers delegates to those that Route 53 gave it first."""

    def __init__(self, endpoint: str) -> None:
        anyone = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
        self._route53 = boto3.client("route53", endpoint_url=endpoint, **anyone)

    def resolve(self, request: Any, handler: Any) -> Any:
        reply = request.reply()
        if request.q.qtype == dnslib.QTYPE.A and str(request.q.qname) == f"{HOST}.":
            reply.add_answer(dnslib.RR(request.q.qname, dnslib.QTYPE.A, rdata=dnslib.A(ADDRESS), ttl=1))
            return reply
        for zone in self._route53.list_hosted_zones_by_name(DNSName=str(request.q.qname))["HostedZones"]:
            servers = self._route53.get_hosted_zone(Id=zone["Id"])["DelegationSet"]["NameServers"]
            self._delegate(zone["Name"], servers)
            for server in servers:
                reply.add_answer(dnslib.RR(request.q.qname, dnslib.QTYPE.NS, rdata=dnslib.NS(server), ttl=1))
        return reply

    def _delegate(self, zone: str, servers: list[str]) -> None:
        record = {"Name": zone, "Type": "NS", "TTL": 60, "ResourceRecords": [{"Value": server} for server in servers]}
        changes = {"Changes": [{"Action": "UPSERT", "ResourceRecordSet": record}]}
        self._route53.change_resource_record_sets(HostedZoneId=REGISTRAR, ChangeBatch=changes)


@contextmanager
def dns(endpoint: str) -> Iterator[str]:
    port = free_port()
    silent = dnslib.server.DNSLogger(log="-request,-reply")
    running = dnslib.server.DNSServer(Public(endpoint), port=port, address="127.0.0.1", logger=silent)
    running.start_thread()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        running.stop()
        running.server.server_close()


@dataclass(frozen=True)
class World:
    """Everything around a deployment. ``environment``: of whoever deploys."""

    site: Site
    folder: Path
    tunnel_port: int
    resolver: str
    gateway: Gateway
    docker_log: Path
    environment: dict[str, str]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        prod = site(tmp_path, "prod")
        stack.callback(prod.servers.stop)
        port, programs, log = free_port(), tmp_path / "bin", tmp_path / "docker.log"
        changes = {"connectivity.deployer_host.tunnel_port": port, "gateway.agent_image": IMAGE, "dns.zone_id": None}
        config = changed(prod.config, {f"spillway:{key}": value for key, value in changes.items()})
        programs.mkdir()
        for name, text in (("aws", AWS.format(python=sys.executable, port=port)), ("docker", DOCKER)):
            script = programs / name
            script.write_text(text if name == "aws" else text.format(python=sys.executable, log=str(log)))
            script.chmod(0o755)
        try:
            answering = stack.enter_context(gateway(tmp_path / "tls", HOST, KEY, ADDRESS, 443))
        except PermissionError:
            pytest.skip("port 443 of a loopback address is for root alone here")
        environment = {
            **StandIns(prod.servers.stand_ins()).environment,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "SSL_CERT_FILE": str(answering.authority),
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
        }
        resolver = stack.enter_context(dns(prod.servers.endpoints["aws"]))
        yield World(prod, project(prod.folder, config), port, resolver, answering, log, environment)


class TwinStack:
    """The stack under the embedded deployer, which does what the Pulumi CLI does."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def preview(self, stage: StageName) -> Mapping[str, int]:
        return self._deployer(stage).preview().changes

    def up(self, stage: StageName) -> Mapping[str, int]:
        return self._deployer(stage).up().changes

    def outputs(self) -> Mapping[str, Any]:
        return self._site.changed_to({}).outputs()

    def checkpoint(self) -> Mapping[str, Any]:
        return self._site.changed_to({}).export()

    def _deployer(self, stage: StageName) -> EmbeddedDeployer:
        return self._site.changed_to({STAGE_KEY: stage})


def test_prod_comes_up_in_its_stages_on_the_twin_and_answers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in world.environment.items():
        monkeypatch.setenv(name, value)
    described = yaml.safe_load((world.folder / "config" / "Pulumi.test.yaml").read_text())["config"]
    stack, names = Stack("test", read_project(world.folder), world.folder / "state"), Dns(world.resolver)
    asker = Asker(probe_of(stack.manifest()), {CLIENT_KEY_HEADER: KEY}, names.addresses, patience_s=30)
    hands = StackHands(stack, Reporter(), names, asker, True, "docker", None)
    settled = TwinStack(Site(world.folder, world.site.servers, described))

    deployed = Deployment(settled, hands, Reporter()).run(steps_of(stack.settings))

    assert [one.step for one in deployed.done] == ["foundation", "image", "site"]
    assert [(dict(one.left), one.faults) for one in deployed.done] == [({}, ())] * 3
    assert_image_was_pushed(world)
    assert deployed.answer is not None
    assert (deployed.answer.problem, deployed.answer.site) == ("", "private")
    assert world.gateway.paths == ["/v2/models/echo/infer"]


def assert_image_was_pushed(world: World) -> None:
    """Once, after a log-in whose password is no argument."""
    told = world.docker_log.read_text().splitlines()
    assert told.count(f"push {IMAGE}") == 1
    password = world.docker_log.with_name("password").read_text()
    assert password
    assert password not in world.docker_log.read_text()


@pytest.mark.pulumi_cli
@pytest.mark.skipif(shutil.which("pulumi") is None, reason="there is no `pulumi` on PATH")
def test_prod_is_deployed_in_its_stages_and_a_second_run_changes_nothing(world: World, tmp_path: Path) -> None:
    stack_file = world.folder / "config" / "Pulumi.test.yaml"
    stand_ins = world.site.servers.stand_ins()
    before = {
        **os.environ,
        **world.environment,
        "PULUMI_BACKEND_URL": f"file://{tmp_path}",
        "PULUMI_HOME": str(tmp_path / "home"),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }
    program = world.folder / str(yaml.safe_load((world.folder / "Pulumi.yaml").read_text())["main"])
    with serve(stand_ins, program) as ports, language_host(program, before) as languages:
        environment = {
            **before,
            "PULUMI_DEBUG_PROVIDERS": debug_providers(ports),
            "PULUMI_DEBUG_LANGUAGES": languages,
        }

        def deploy() -> dict[str, Any]:
            command = [sys.executable, "-m", "spillway.cli.main", "deploy", "-s", "test", "--yes", "--json"]
            done = subprocess.run(
                [*command, "--resolver", world.resolver],
                cwd=world.folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=250,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            assert KEY not in done.stdout + done.stderr
            return json.loads(done.stdout)

        first = deploy()
        second = deploy()
    assert [one["stage"] for one in first["done"]] == ["foundation", "image", "site"]
    assert all(one["left"] == {} and one["faults"] == [] for one in first["done"])
    assert first["done"][0]["changes"]["create"] > 100
    assert_image_was_pushed(world)
    assert first["answer"]["status"] == second["answer"]["status"] == 200
    assert [(one["stage"], set(one["changes"])) for one in second["done"]] == [("image", {"same"}), ("site", {"same"})]
    assert "spillway:stage" not in stack_file.read_text()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", world.tunnel_port), timeout=5)
