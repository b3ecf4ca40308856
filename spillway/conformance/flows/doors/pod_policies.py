"""Kubernetes NetworkPolicies.

A pod that no policy selects for a direction is open in it; one that any selects passes what the rules of all of them
allow: https://kubernetes.io/docs/concepts/services-networking/network-policies/ (read 2026-11-29).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any, Final, Literal

from spillway.conformance.flows.addresses import covered, ranges, told, uncovered
from spillway.conformance.flows.flow import Closed
from spillway.conformance.flows.workloads import Pod
from spillway.conformance.flows.world import World
from spillway.contracts.resources import Resource

POLICY: Final = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
NAMESPACE: Final = "kubernetes:core/v1:Namespace"
Way = Literal["ingress", "egress"]


@dataclass(frozen=True)
class Peer:
    """Who is at the other end: pods of a namespace, or addresses, all of which have to pass."""

    namespace: str = ""
    labels: Mapping[str, str] | None = None
    ranges: tuple[IPv4Network, ...] = ()

    @property
    def told(self) -> str:
        return f"pods of {self.namespace}" if self.namespace else told(self.ranges)


def of_pod(pod: Pod) -> Peer:
    return Peer(pod.namespace, pod.labels)


def selects(selector: Any, labels: Mapping[str, str]) -> bool:
    """Whether a label selector picks these labels; an empty one picks everything."""
    if not isinstance(selector, Mapping):
        return True
    wanted = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _meets(one, labels) for one in selector.get("matchExpressions") or ()
    )


def _meets(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    found, values = labels.get(expression.get("key", "")), expression.get("values") or ()
    match expression.get("operator"):
        case "In":
            return found in values
        case "NotIn":
            return found not in values
        case "Exists":
            return found is not None
        case "DoesNotExist":
            return found is None
        case _:
            return True


def allow(world: World, pod: Pod, way: Way, peer: Peer, port: int, protocol: str = "TCP") -> Iterator[Closed]:
    """Whether the policies of the pod's namespace let it talk with the peer on ``port``.

    ``port`` is of the pod for ingress, of the peer for egress.
    """
    isolating = [policy for policy in _policies(world, pod.namespace) if _isolates(policy, pod, way)]
    if not isolating:
        return
    rules = [rule for policy in isolating for rule in _rules(policy, way) if _on(rule, port, protocol, pod, way)]
    if peer.ranges:
        left = uncovered(peer.ranges, [one for rule in rules for one in _blocks(rule, way)])
        if not left:
            return
        peer = Peer(ranges=tuple(left))
    elif any(_admits(world, rule, way, pod.namespace, peer) for rule in rules):
        return
    yield _shut(world, isolating, pod, way, peer, port, protocol)


def _policies(world: World, namespace: str) -> list[Resource]:
    return [one for one in world.graph.of(POLICY) if one.get("metadata.namespace") == namespace]


def _isolates(policy: Resource, pod: Pod, way: Way) -> bool:
    types = policy.get("spec.policyTypes") or ["Ingress", *(["Egress"] if policy.get("spec.egress") else [])]
    return way.capitalize() in types and selects(policy.get("spec.podSelector"), pod.labels)


def _rules(policy: Resource, way: Way) -> Iterable[Mapping[str, Any]]:
    return policy.get(f"spec.{way}") or ()


def _on(rule: Mapping[str, Any], port: int, protocol: str, pod: Pod | None, way: Way) -> bool:
    ports = rule.get("ports")
    if not ports:
        return True
    for one in ports:
        if one.get("protocol", "TCP") != protocol:
            continue
        first = one.get("port")
        if isinstance(first, str):
            first = pod.port(first) if pod and way == "ingress" else port
        if first is None or first <= port <= (one.get("endPort") or first):
            return True
    return False


def _peers(rule: Mapping[str, Any], way: Way) -> list[Mapping[str, Any]] | None:
    """``None``: everybody."""
    return rule.get("from" if way == "ingress" else "to") or None


def _blocks(rule: Mapping[str, Any], way: Way) -> tuple[IPv4Network, ...]:
    peers = _peers(rule, way)
    if peers is None:
        return ranges("0.0.0.0/0")
    allowed: list[IPv4Network] = []
    for block in (peer["ipBlock"] for peer in peers if peer.get("ipBlock")):
        whole = list(ranges(block.get("cidr")))
        for hole in ranges(block.get("except") or []):
            whole = [left for one in whole for left in (one.address_exclude(hole) if covered(hole, [one]) else [one])]
        allowed.extend(whole)
    return tuple(allowed)


def _admits(world: World, rule: Mapping[str, Any], way: Way, own: str, peer: Peer) -> bool:
    peers = _peers(rule, way)
    return peers is None or any(_is_peer(world, one, own, peer) for one in peers)


def _is_peer(world: World, found: Mapping[str, Any], own: str, peer: Peer) -> bool:
    if found.get("ipBlock"):
        return False
    if "namespaceSelector" in found:
        if not selects(found["namespaceSelector"], _namespace_labels(world, peer.namespace)):
            return False
    elif peer.namespace != own:
        return False
    return peer.labels is None or "podSelector" not in found or selects(found["podSelector"], peer.labels)


def _namespace_labels(world: World, name: str) -> Mapping[str, str]:
    made = next((one for one in world.graph.of(NAMESPACE) if one.get("metadata.name") == name), None)
    labels = made.get("metadata.labels") if made else None
    return {**(labels if isinstance(labels, Mapping) else {}), "kubernetes.io/metadata.name": name}


def _shut(world: World, isolating: list[Resource], pod: Pod, way: Way, peer: Peer, port: int, protocol: str) -> Closed:
    """Names the policy that was surely meant: one that nearly allows it, the pod's own, one that selects nobody."""
    missed = [one for one in _policies(world, pod.namespace) if one not in isolating and not _somebody(world, one)]
    near = [one for one in isolating if _nearly(world, one, pod, way, peer, port, protocol)]
    own = [one for one in isolating if _picks_some(one)]
    lost = [one for one in missed if _nearly(world, one, pod, way, peer, port, protocol)]
    policy = [*near, *own, *lost, *isolating][0]
    direction = "from" if way == "ingress" else "to"
    over = f"{protocol}/{port}"
    return Closed(
        policy,
        "spec.podSelector" if policy in lost else f"spec.{way}",
        f"pod {pod.name} of {pod.namespace} is let through {over} {direction} {peer.told} by no NetworkPolicy",
        f"Allow {over} {direction} {peer.told} in its NetworkPolicy.",
    )


def _nearly(world: World, policy: Resource, pod: Pod, way: Way, peer: Peer, port: int, protocol: str) -> bool:
    """Whether one of its rules speaks of the port or, by name, of the peer."""
    for rule in _rules(policy, way):
        if rule.get("ports") and _on(rule, port, protocol, pod, way):
            return True
        if peer.namespace and _peers(rule, way) and _admits(world, rule, way, pod.namespace, peer):
            return True
    return False


def _picks_some(policy: Resource) -> bool:
    selector = policy.get("spec.podSelector") or {}
    return bool(selector.get("matchLabels") or selector.get("matchExpressions"))


def _somebody(world: World, policy: Resource) -> bool:
    namespace, selector = policy.get("metadata.namespace"), policy.get("spec.podSelector")
    return any(pod.namespace == namespace and selects(selector, pod.labels) for pod in world.pods)
