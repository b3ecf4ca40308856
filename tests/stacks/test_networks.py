"""Networks of all parts against each other, those that nobody named too."""

from __future__ import annotations

from typing import Any

import pytest

from stacks.rules import problems_between
from stacks.sites import burst_sites
from stacks.stack_file import parse_settings
from tests.stacks.files import changed, example, flat


def told(stack: str, **changes: Any) -> dict[str, str]:
    given = {f"spillway:{key.replace('__', '.')}": value for key, value in changes.items()}
    settings = parse_settings(flat(changed(example(stack), given)))
    found = problems_between(settings, burst_sites(settings))
    return {problem.key.removeprefix("spillway:"): problem.said for problem in found}


@pytest.mark.parametrize("stack", ["local", "dev", "prod", "deepseek", "deepseek-v3"])
def test_the_examples_keep_theirs_apart(stack: str) -> None:
    assert told(stack) == {}


@pytest.mark.parametrize("peer", ["172.16.0.0/12", "172.20.5.0/24"])
def test_a_peer_is_apart_from_the_services_of_eks_though_nobody_named_them(peer: str) -> None:
    peers = ["10.100.0.0/16", peer]
    assert told("prod", connectivity__vpn__peer_cidrs=peers) == {
        "private_cluster.service_cidr": f"given '172.20.0.0/16'; it overlaps connectivity.vpn.peer_cidrs {peer}, which "
        "pods could not reach then; choose ranges apart"
    }
    assert told("prod", connectivity__vpn__peer_cidrs=peers, private_cluster__service_cidr="192.168.0.0/20") == {}


def test_a_vpc_is_apart_from_the_services() -> None:
    assert (
        "connectivity.vpc_cidr" in told("prod", connectivity__vpc_cidr="172.20.0.0/16")["private_cluster.service_cidr"]
    )


def test_pods_and_services_of_aks_are_apart_from_each_other_and_from_its_own() -> None:
    assert (
        "overlaps private_cluster.pod_cidr"
        in told("dev", private_cluster__service_cidr="172.20.8.0/22")["private_cluster.service_cidr"]
    )
    assert "AKS keeps 172.31.0.0/16" in told("dev", connectivity__vnet_cidr="172.31.0.0/16")["connectivity.vnet_cidr"]
