"""Security groups, with rules inside and beside them, and network ACLs.

Groups: what no rule allows is dropped, answers pass; the provider takes a new group's allow-all egress rule away
(https://registry.terraform.io/providers/hashicorp/aws/latest/docs/resources/security_group). ACLs: the first rule by
number decides, answers need ephemeral ports of their own
(https://docs.aws.amazon.com/vpc/latest/userguide/nacl-rules.html).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any, Final, Literal

from spillway.conformance.flows.addresses import covered, ranges, told, uncovered
from spillway.conformance.flows.flow import Closed
from spillway.conformance.flows.world import World
from spillway.contracts.resources import UNKNOWN, Resource

Direction = Literal["ingress", "egress"]
GROUP: Final = "aws:ec2/securityGroup:SecurityGroup"
_EPHEMERAL: Final = 32768
"""A port that Linux takes for a client's end."""


@dataclass(frozen=True)
class Peer:
    """Who is at the other end: all of its ranges, or by membership in a group, or in a prefix list."""

    ranges: tuple[IPv4Network, ...] = ()
    groups: frozenset[Any] = frozenset()
    prefix_lists: frozenset[Any] = frozenset()


@dataclass(frozen=True)
class _GroupRule:
    resource: Resource
    path: str
    group: Any
    protocol: Any
    ports: tuple[Any, Any]
    ranges: tuple[IPv4Network, ...]
    groups: frozenset[Any]
    prefix_lists: frozenset[Any]

    def on(self, port: int, protocol: str) -> bool:
        if str(self.protocol) == "-1":
            return True
        first, last = self.ports
        if UNKNOWN in (self.protocol, first, last):
            return True
        number = {"6": "tcp", "17": "udp"}.get(str(self.protocol), str(self.protocol))
        return number == protocol and first is not None and last is not None and first <= port <= last


def groups_allow(
    world: World, groups: Iterable[Any], direction: Direction, peer: Peer, port: int, protocol: str = "tcp"
) -> Iterator[Closed]:
    """Whether one of the groups lets the whole peer through. Groups that the plan does not make are not judged."""
    made = [world.by_id(group, GROUP) for group in groups]
    if not made or None in made:
        return
    ids = {group.id for group in made if group}
    rules = [rule for rule in _rules(world, direction) if rule.group in ids]
    fitting = [rule for rule in rules if rule.on(port, protocol)]
    if any(rule.groups & peer.groups or rule.prefix_lists & peer.prefix_lists for rule in fitting):
        return
    left = uncovered(peer.ranges, [one for rule in fitting for one in rule.ranges])
    if peer.ranges and not left:
        return
    yield _shut(next(group for group in made if group), rules, fitting, direction, peer, left, f"{protocol}/{port}")


def _shut(
    group: Resource,
    rules: list[_GroupRule],
    fitting: list[_GroupRule],
    direction: Direction,
    peer: Peer,
    left: list[IPv4Network],
    over: str,
) -> Closed:
    """Names the rule that was surely meant: of this peer for another port, or of this port for another such peer.

    A rule that stands by itself and fits the port alone may be there for somebody else: then it is the group.
    """
    alike = [rule for rule in rules if _about(rule, peer)] or [rule for rule in fitting if _like(rule, peer)]
    meant = next(iter(alike or [rule for rule in fitting if rule.resource is group]), None)
    way = "from" if direction == "ingress" else "to"
    who = told(left) if left else "the group or prefix list at the other end"
    resource = meant.resource if meant and meant.resource is not group else group
    return Closed(
        resource,
        meant.path if meant else direction,
        f"security group {group.name} allows no {over} {way} {who}",
        f"Allow {over} {way} {who} in its {direction} rules.",
    )


def _like(rule: _GroupRule, peer: Peer) -> bool:
    """Whether the rule names its peer by the same means."""
    return bool((rule.prefix_lists and peer.prefix_lists) or (rule.groups and peer.groups and not rule.ranges))


def _about(rule: _GroupRule, peer: Peer) -> bool:
    shared = rule.groups & peer.groups or rule.prefix_lists & peer.prefix_lists
    return bool(shared) or any(covered(one, rule.ranges) for one in peer.ranges)


def _rules(world: World, direction: Direction) -> Iterator[_GroupRule]:
    for group in world.graph.of(GROUP):
        for number, rule in enumerate(group.props.get(direction) or ()):
            own = frozenset({group.id} if rule.get("self") else ())
            yield _GroupRule(
                group,
                f"{direction}.{number}",
                group.id,
                rule.get("protocol"),
                (rule.get("fromPort"), rule.get("toPort")),
                ranges(rule.get("cidrBlocks")),
                own | frozenset(rule.get("securityGroups") or ()),
                frozenset(rule.get("prefixListIds") or ()),
            )
    kind = "Ingress" if direction == "ingress" else "Egress"
    for found in world.graph.of(f"aws:vpc/securityGroup{kind}Rule:SecurityGroup{kind}Rule"):
        yield _beside(found, "ipProtocol", "cidrIpv4", "referencedSecurityGroupId", [found.props.get("prefixListId")])
    for found in world.graph.of("aws:ec2/securityGroupRule:SecurityGroupRule"):
        if found.props.get("type") == direction:
            lists = found.props.get("prefixListIds") or []
            yield _beside(found, "protocol", "cidrBlocks", "sourceSecurityGroupId", lists)


def _beside(found: Resource, protocol: str, cidr: str, group: str, lists: list[Any]) -> _GroupRule:
    return _GroupRule(
        found,
        "",
        found.props.get("securityGroupId"),
        found.props.get(protocol),
        (found.props.get("fromPort"), found.props.get("toPort")),
        ranges(found.props.get(cidr)),
        frozenset([found.props[group]] if found.props.get(group) else []),
        frozenset(one for one in lists if one),
    )


def lists_allow(
    world: World, subnets: Iterable[Any], direction: Direction, peer: Iterable[IPv4Network], port: int
) -> Iterator[Closed]:
    """Whether the ACLs of the subnets let requests on ``port`` and their answers through."""
    asked, peer = {str(id_) for id_ in subnets}, tuple(peer)
    back: Direction = "egress" if direction == "ingress" else "ingress"
    for found in world.graph.of("aws:ec2/networkAcl:NetworkAcl"):
        if not asked & _subnets_of(world, found):
            continue
        for one in peer:
            yield from _first_rule(world, found, direction, one, port)
            yield from _first_rule(world, found, back, one, _EPHEMERAL)


def _subnets_of(world: World, acl: Resource) -> set[str]:
    own = {str(id_) for id_ in acl.props.get("subnetIds") or ()}
    for found in world.graph.of("aws:ec2/networkAclAssociation:NetworkAclAssociation"):
        if found.props.get("networkAclId") == acl.id:
            own.add(str(found.props.get("subnetId")))
    return own


def _first_rule(world: World, acl: Resource, way: Direction, peer: IPv4Network, port: int) -> Iterator[Closed]:
    entries = [(entry.get("ruleNo"), entry, acl) for entry in acl.props.get(way) or ()]
    for found in world.graph.of("aws:ec2/networkAclRule:NetworkAclRule"):
        if found.props.get("networkAclId") == acl.id and bool(found.props.get("egress")) == (way == "egress"):
            entries.append((found.props.get("ruleNumber"), found.props, found))
    for _, entry, resource in sorted(entries, key=lambda one: one[0] or 0):
        whole = str(entry.get("protocol")) in ("-1", "all")
        spans = whole or (entry.get("fromPort") or 0) <= port <= (entry.get("toPort") or 0)
        named = ranges(entry.get("cidrBlock"))
        if not spans or str(entry.get("protocol")) not in ("-1", "all", "6", "tcp"):
            continue
        if str(entry.get("action") or entry.get("ruleAction")) == "deny" and any(one.overlaps(peer) for one in named):
            yield Closed(
                resource, way, f"the network ACL denies tcp/{port} with {peer} ({way})", "Allow it before the denial."
            )
            return
        if covered(peer, named):
            return
    yield Closed(acl, way, f"no rule of the network ACL allows tcp/{port} with {peer} ({way})", "Add a rule for it.")
