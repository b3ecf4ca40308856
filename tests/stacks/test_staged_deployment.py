"""Steps of a deployment: which there are, in which order they go, what stops them, and that a stopped one goes on."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dnslib
import dnslib.server
import pytest

from spillway.twin.data_plane.processes.child import free_port
from stacks.first_answer import Answer
from stacks.runtime_image import ImageError
from stacks.stack_file import parse_settings
from stacks.staged_deployment import Deployed, DeployError, Deployment, Dns
from stacks.stages import Delegation, Image, Question, Runner, Stage, StageName, Tunnel, steps_of
from tests.stacks.files import changed, example, flat

FOUNDATION, SITE = Stage("foundation", "what it stands on"), Stage("site", "everything on it")
NEW_ZONE = {"dns.zone_id": None}
QUESTION = Question("inference.example.com", public=True)
GOOD = Answer("", "198.51.100.7", 200, "private", 0.1, "{}")
NAME_SERVERS = ("ns-1.awsdns-00.com", "ns-2.awsdns-00.net")


def kinds(stack: str, **changes: Any) -> list[str]:
    settings = parse_settings(
        flat(changed(example(stack), {f"spillway:{key}": value for key, value in changes.items()}))
    )
    return [step.name if isinstance(step, Stage) else type(step).__name__ for step in steps_of(settings)]


def test_a_private_api_server_and_a_new_public_zone_make_two_stages() -> None:
    assert kinds("prod", **NEW_ZONE) == ["foundation", "Image", "Delegation", "Tunnel", "site", "Question"]


def test_a_runner_in_the_network_takes_over() -> None:
    assert kinds("prod", **NEW_ZONE, **{"connectivity.deployer": "in_vpc_runner"}) == [
        "foundation",
        "Image",
        "Delegation",
        "Runner",
        "site",
        "Question",
    ]


def test_one_stage_is_enough_where_nothing_has_to_be_waited_for() -> None:
    own_zone = {"dns.zone_id": "Z0123456789ABC"}
    assert kinds("local", **own_zone) == ["Image", "site", "Question"]
    assert kinds("prod", **own_zone) == ["foundation", "Image", "Tunnel", "site", "Question"]


def test_a_certificate_that_is_there_needs_no_delegation() -> None:
    given = "arn:aws:acm:us-east-1:123456789012:certificate/c"
    assert "Delegation" not in kinds("prod", **NEW_ZONE, **{"gateway.standby": {"certificate_arn": given}})
    assert "Delegation" not in kinds("prod", **NEW_ZONE, **{"dns.certificate_zone_id": "Z0123456789ABC"})


def test_the_image_is_looked_for_where_it_is_pulled_from() -> None:
    mirror = {"images": {"*": "mirror.example.com/all"}}
    changes = {"spillway:connectivity.mirror": mirror, "spillway:gateway.agent_image": "registry.example.com/runtime:1"}
    [image] = [one for one in steps_of(parse_settings(flat(changed(example("prod"), changes)))) if type(one) is Image]
    assert image.name == "mirror.example.com/all/runtime:1"


@dataclass
class Told:
    """A stack that keeps what it was asked, progress that is kept, and the hands of whoever deploys."""

    stands: dict[str, Any] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    approves: bool = True
    dns: Callable[[str], frozenset[str]] = lambda zone: frozenset(NAME_SERVERS)
    answer: Answer = GOOD
    unpublished: str = ""

    def preview(self, stage: StageName) -> Mapping[str, int]:
        self.log.append(f"preview {stage}")
        return {"create": 3}

    def up(self, stage: StageName) -> Mapping[str, int]:
        self.log.append(f"up {stage}")
        self.stands["stage"] = stage
        return {"create": 3}

    def outputs(self) -> Mapping[str, Any]:
        return self.stands

    def checkpoint(self) -> Mapping[str, Any]:
        return {"after": self.stands["stage"]}

    def approve(self, stage: Stage, changes: Mapping[str, int]) -> bool:
        return self.approves

    def name_servers(self, zone: str) -> frozenset[str]:
        return self.dns(zone)

    def publish(self, image: Image) -> bool:
        if self.unpublished:
            raise ImageError(self.unpublished)
        self.log.append(f"publish {image.name}")
        return True

    def faults(self, stage: Stage, checkpoint: Mapping[str, Any]) -> Sequence[str]:
        return [f"{stage.name} {checkpoint['after']}"]

    def ask(self, question: Question) -> Answer:
        self.log.append(f"ask {question.host}")
        return self.answer

    def say(self, text: str) -> None:
        self.log.append(text)

    @contextmanager
    def phase(self, text: str) -> Iterator[None]:
        yield


def deployed(told: Told, *steps: Any) -> Deployed:
    return Deployment(told, told, told, dns_poll_s=0.01).run(steps)


def run(told: Told, *steps: Any) -> list[str]:
    """The ups that it made."""
    deployed(told, *steps)
    return [line for line in told.log if line.startswith("up ")]


def test_the_stages_go_in_order() -> None:
    assert run(Told(), FOUNDATION, SITE) == ["up foundation", "up site"]


def test_a_foundation_under_a_site_is_never_deployed_again() -> None:
    """It would take the site away."""
    assert run(Told({"stage": "site"}), FOUNDATION, SITE) == ["up site"]


def test_what_is_not_approved_is_not_done() -> None:
    told = Told(approves=False)
    with pytest.raises(DeployError, match="foundation was not approved"):
        run(told, FOUNDATION, SITE)
    assert told.log == ["preview foundation"]


def test_it_says_whom_to_delegate_to_and_waits() -> None:
    answers = iter([frozenset[str](), frozenset({"other.example.net"}), frozenset({NAME_SERVERS[1]})])
    told = Told({"name_servers": [f"{name.upper()}." for name in NAME_SERVERS]}, dns=lambda zone: next(answers))
    assert run(told, FOUNDATION, Delegation("example.com"), SITE) == ["up foundation", "up site"]
    [said] = [line for line in told.log if "delegate" in line]
    assert f"delegate example.com to {', '.join(NAME_SERVERS)}" in said
    assert next(answers, None) is None


def test_the_image_is_pushed_before_what_runs_it_and_the_site_is_asked_last() -> None:
    told = Told()
    found = deployed(told, FOUNDATION, Image("registry.example.com/runtime:1"), SITE, QUESTION)
    made = [line for line in told.log if not line.startswith("preview")]
    assert made == ["up foundation", "publish registry.example.com/runtime:1", "up site", "ask inference.example.com"]
    assert [(one.step, dict(one.changes)) for one in found.done][1] == ("image", {"push": 1})
    assert found.answer == told.answer


def test_without_an_image_nothing_runs_it() -> None:
    told = Told(unpublished="give --image-base")
    with pytest.raises(DeployError, match="give --image-base"):
        run(told, Image("registry.example.com/runtime:1"), SITE)
    assert told.log == []


def test_what_stands_is_judged_after_each_stage() -> None:
    found = deployed(Told(), FOUNDATION, SITE)
    assert [one.faults for one in found.done] == [("foundation foundation",), ("site site",)]


def test_a_public_site_that_does_not_answer_is_an_error_and_a_private_name_is_told() -> None:
    told = Told(answer=Answer("DNS does not know inference.example.com"))
    with pytest.raises(DeployError, match="everything stands, but the site gives no answer: DNS does not know"):
        run(told, SITE, QUESTION)
    assert deployed(told, SITE, Question("inference.example.com", public=False)).answer == told.answer


TUNNEL = """\
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    server.accept()[0].close()
"""


def test_the_tunnel_is_open_during_the_site_and_closed_after_it(tmp_path: Path) -> None:
    port = free_port()
    script = tmp_path / "tunnel.py"
    script.write_text(TUNNEL)

    class Tunnelled(Told):
        def up(self, stage: StageName) -> Mapping[str, int]:
            if stage == "site":
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return super().up(stage)

    told = Tunnelled({"tunnel": f"{sys.executable} {script} {port}"})
    assert run(told, FOUNDATION, Tunnel(port), SITE) == ["up foundation", "up site"]
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_tunnel_that_ends_says_why() -> None:
    command = f"{sys.executable} -c \"import sys; sys.exit('SessionManagerPlugin is not found')\""
    with pytest.raises(DeployError, match="ended with 1: SessionManagerPlugin is not found"):
        run(Told({"tunnel": command}), FOUNDATION, Tunnel(free_port()), SITE)


def test_a_tunnel_without_its_program_says_so() -> None:
    with pytest.raises(DeployError, match="cannot be opened"):
        run(Told({"tunnel": "no-such-program --target i-1"}), FOUNDATION, Tunnel(free_port()), SITE)


def test_without_the_runners_road_the_site_is_left_to_it() -> None:
    told = Told({"api_server": "https://127.0.0.2"})
    with pytest.raises(DeployError, match="run the same command on the runner"):
        run(told, FOUNDATION, Runner(port=1), SITE)
    assert "up site" not in told.log


class Zone(dnslib.server.BaseResolver):
    def resolve(self, request: Any, handler: Any) -> Any:
        reply = request.reply()
        if str(request.q.qname) == "example.com.":
            for name in NAME_SERVERS:
                reply.add_answer(dnslib.RR("example.com", dnslib.QTYPE.NS, rdata=dnslib.NS(name), ttl=1))
        else:
            reply.header.rcode = dnslib.RCODE.NXDOMAIN
        return reply


def test_dns_is_asked_for_the_zones_name_servers() -> None:
    port = free_port()
    server = dnslib.server.DNSServer(Zone(), port=port, address="127.0.0.1")
    server.start_thread()
    try:
        asked = Dns(f"127.0.0.1:{port}")
        assert asked.name_servers("example.com") == frozenset(NAME_SERVERS)
        assert asked.name_servers("example.org") == frozenset()
        assert asked.addresses("example.org") == []
    finally:
        server.stop()
        server.server.server_close()
