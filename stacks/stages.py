"""A stack in stages: what cannot be done in one ``pulumi up`` is done in several, and what opens the road in between.

Each stage is a plain ``pulumi up`` of the same program and stack file, with ``spillway:stage`` set; a later stage holds
all of an earlier one. What stands is in Pulumi's state, so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from components.failover_dns.settings import Route53Settings
from components.private_cluster.settings import EksSettings
from stacks.settings import StackSettings

StageName = Literal["foundation", "site"]


@dataclass(frozen=True)
class Stage:
    """One ``pulumi up``. ``why``: what it is for, in a sentence."""

    name: StageName
    why: str


@dataclass(frozen=True)
class Delegation:
    """Waits until public DNS asks the stack's own zone. ``zone``: its name."""

    zone: str
    why: str = "ACM proves the name over public DNS; somebody has to delegate to the zone's name servers first"


@dataclass(frozen=True)
class Tunnel:
    """Opens the way to the private API server, and closes it at the end. ``port``: on this machine."""

    port: int
    why: str = "the API server is private: a Session Manager tunnel leads to it"


@dataclass(frozen=True)
class Runner:
    """Goes on only on the machine that the foundation made. ``port``: of the API server."""

    port: int = 443
    why: str = "the API server is private: the rest is deployed by the runner in its network"


@dataclass(frozen=True)
class Image:
    """Sees that the gateways' runtime image is in its registry. ``name``: ``gateway.agent_image``, as it is pulled."""

    name: str
    why: str = "both gateways run the agent from it; nobody publishes it for you"


@dataclass(frozen=True)
class Question:
    """Asks the finished site for one answer. ``host``: the name of the gateways; ``public``: known to the Internet."""

    host: str
    public: bool
    port: int = 443
    why: str = "what was deployed has to answer"


Step = Stage | Image | Delegation | Tunnel | Runner | Question


def steps_of(settings: StackSettings) -> tuple[Step, ...]:
    """What a deployment of this stack does, in order. One stage where nothing has to be waited for.

    Packages are no step: the stages bring them where they are served.
    """
    image = Image(settings.connectivity.mirror.image(settings.gateway.agent_image))
    question = Question(settings.dns.host, settings.exposure == "public")
    roads = tuple(_roads(settings))
    if not roads:
        return (image, Stage("site", "everything: nothing has to be waited for"), question)
    foundation = Stage("foundation", "networks, stores, the cluster itself, the zone and the request for a certificate")
    return (foundation, image, *roads, Stage("site", "everything on it"), question)


def _roads(settings: StackSettings) -> Iterator[Delegation | Tunnel | Runner]:
    dns = settings.dns
    standby = settings.gateway.standby
    if isinstance(dns, Route53Settings) and settings.exposure == "public" and dns.zone_id is None:
        proved_elsewhere = standby.certificate_arn or dns.certificate_zone_id
        if standby.enabled and not proved_elsewhere:
            yield Delegation(dns.zone_name)
    if isinstance(settings.private_cluster, EksSettings):
        match settings.connectivity.deployer:
            case "tunnel":
                yield Tunnel(settings.connectivity.deployer_host.tunnel_port)
            case "in_vpc_runner":
                yield Runner()
            case "authorised_cidrs" | "own_network":
                pass
