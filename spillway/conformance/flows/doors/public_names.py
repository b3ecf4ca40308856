"""Public zones of Route 53: records, where they lead, and certificates for their names."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import Any, Final

from spillway.conformance.flows.addresses import ranges
from spillway.conformance.flows.flow import Closed
from spillway.conformance.flows.world import World
from spillway.contracts import health_checkers
from spillway.contracts.resources import UNKNOWN, Resource

RECORD: Final = "aws:route53/record:Record"
ZONE: Final = "aws:route53/zone:Zone"
_CERTIFICATE: Final = "aws:acm/certificate:Certificate"


def failover_records(world: World) -> list[Resource]:
    """The records by which clients find a gateway."""
    return [one for one in world.graph.of(RECORD) if one.props.get("failoverRoutingPolicies")]


def paired(world: World, record: Resource) -> Iterator[Closed]:
    """Whether a failover record has its other half: without a secondary nobody takes over, without a primary nobody is
    found while all is well (https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/dns-failover-types.html)."""
    others = [one for one in failover_records(world) if one.props.get("name") == record.props.get("name")]
    roles = {str(one.get("failoverRoutingPolicies.0.type")).upper() for one in others}
    for role in sorted({"PRIMARY", "SECONDARY"} - roles):
        yield Closed(record, "failoverRoutingPolicies", f"the record has no {role} beside it", f"Add the {role}.")


def in_its_zone(world: World, record: Resource) -> Iterator[Closed]:
    """Whether the zone answers for the record's name."""
    zone = world.by_id(record.props.get("zoneId"), ZONE)
    name = str(record.props.get("name")).rstrip(".")
    if zone is None:
        return
    whole = str(zone.props.get("name")).rstrip(".")
    if name != whole and not name.endswith(f".{whole}"):
        yield Closed(record, "name", "the record's name is not in its zone", "Put it into the zone that holds it.")
    if zone.props.get("vpcs") and _outside(world):
        yield Closed(zone, "vpcs", "the zone is private, so clients outside do not see it", "Use a public zone.")


def _outside(world: World) -> bool:
    """Whether a load balancer of the plan is for the Internet, and so are its clients."""
    made = world.graph.of("aws:lb/loadBalancer:LoadBalancer")
    return any(one.props.get("internal") is False for one in made)


def leads(world: World, record: Resource) -> Iterator[Closed]:
    """Whether the record leads to a load balancer of the plan."""
    aliases = [one.get("name") for one in record.props.get("aliases") or ()]
    values = [*aliases, *(record.props.get("records") or ())]
    known = set(_addresses(world))
    if not values:
        yield Closed(record, "records", "the record leads nowhere", "Give it the gateway's address.")
    elif UNKNOWN not in values and known and not {str(one).rstrip(".").lower() for one in values} & known:
        yield Closed(
            record,
            "aliases" if aliases else "records",
            "the record leads to no load balancer of the plan",
            "Let it name the load balancer of its gateway.",
        )


def _addresses(world: World) -> Iterator[str]:
    for found in world.graph.of("aws:lb/loadBalancer:LoadBalancer"):
        yield str(found.outputs.get("dnsName")).lower()
    for found in world.graph.of("kubernetes:core/v1:Service"):
        for one in ((found.outputs.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
            yield from (str(value).lower() for value in one.values())


def one_port(world: World, service: Resource, port: int) -> Iterator[Closed]:
    """Whether the gateways behind one name listen on one port: failover changes the address that clients use alone.

    A cluster that the plan does not make is somebody's trial, maybe without a certificate, and is left aside.
    """
    if not (world.eks or world.aks):
        return
    ports = sorted({int(one.props.get("port") or 0) for one in world.graph.of("aws:lb/listener:Listener")})
    if failover_records(world) and ports and port not in ports:
        yield Closed(
            service,
            "spec.ports",
            f"the other gateway of the name listens on {', '.join(map(str, ports))}, so clients do not ask for {port}",
            "Let both listen on the same port.",
        )


def certificate(world: World, listener: Resource) -> Iterator[Closed]:
    """Whether the listener's certificate is for the name that clients call, and can be proved."""
    found = world.by_arn(listener.props.get("certificateArn"), _CERTIFICATE)
    if listener.props.get("protocol") in ("HTTPS", "TLS") and not listener.props.get("certificateArn"):
        yield Closed(listener, "certificateArn", "the listener speaks TLS without a certificate", "Give it one.")
    if found is None:
        return
    named = [found.props.get("domainName"), *(found.props.get("subjectAlternativeNames") or ())]
    for record in failover_records(world):
        name = str(record.props.get("name")).rstrip(".")
        if not any(_matches(str(one), name) for one in named):
            yield Closed(found, "domainName", "the certificate is not for the name that clients call", "Name it.")
    yield from _proved(world, found)


def _matches(named: str, name: str) -> bool:
    return named == name or (named.startswith("*.") and named[2:] == name.partition(".")[2])


def _proved(world: World, found: Resource) -> Iterator[Closed]:
    options = found.outputs.get("domainValidationOptions") or ()
    values = {str(one).rstrip(".") for record in world.graph.of(RECORD) for one in record.props.get("records") or ()}
    for option in options:
        asked = str(option.get("resourceRecordValue") or "").rstrip(".")
        if found.props.get("validationMethod") == "DNS" and asked and asked not in values:
            name = str(option.get("resourceRecordName") or "").rstrip(".")
            records = [one for one in world.graph.of(RECORD) if str(one.props.get("name")).rstrip(".") == name]
            yield Closed(
                records[0] if records else found,
                "records" if records else "validationMethod",
                "no record of the plan proves the certificate's name, so it is never issued",
                "Add the validation record to the zone.",
            )


def clients(world: World) -> tuple[IPv4Network, ...]:
    """Who may call: every range that one of the gateways' doors to clients names, but for Route 53's checkers."""
    found: list[Any] = []
    for service in world.graph.of("kubernetes:core/v1:Service"):
        found += service.get("spec.loadBalancerSourceRanges") or ()
    for balancer in world.graph.of("aws:lb/loadBalancer:LoadBalancer"):
        for group in balancer.props.get("securityGroups") or ():
            resource = world.by_id(group, "aws:ec2/securityGroup:SecurityGroup")
            for rule in (resource.props.get("ingress") or ()) if resource else ():
                found += rule.get("cidrBlocks") or ()
    checkers = ranges(list(health_checkers.RANGES))
    return tuple(one for one in dict.fromkeys(ranges(found)) if one not in checkers)


def asked_by_route53(world: World, service: Resource) -> list[Resource]:
    """Health checks by which Route 53 itself asks the service's load balancer."""
    status = (service.outputs.get("status") or {}).get("loadBalancer") or {}
    own = {str(value).lower() for one in status.get("ingress") or () for value in one.values()}
    checks = world.graph.of("aws:route53/healthCheck:HealthCheck")
    return [one for one in checks if str(one.get("ipAddress") or one.get("fqdn")).lower() in own]
