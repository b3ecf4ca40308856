"""The one reader: what it tells the policies, of Spillway's stacks, of other programs and of faulty files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from policies.judge import judge
from policies.resources import Context
from stacks.errors import StackConfigError
from stacks.stack_file import parse_settings, read_policies, read_settings
from tests.policies.support import resource
from tests.stacks.files import changed, example, flat

SHORT_TTL = {"spillway:policies.dns_ttl": {"max_ttl_s": 5}}
SLOW = resource("aws:route53/record:Record", ttl=10)
ROOT = Path("/project")


def local(changes: dict[str, Any]) -> dict[str, str]:
    return flat(changed(example("local"), changes))


def says_too_slow(config: dict[str, str]) -> bool:
    settings, context = read_policies(config, ROOT)
    return "dns-ttl" in {violation.policy.name for violation in judge([SLOW], settings, context).violations}


def test_the_policies_get_their_settings_and_what_the_stack_says() -> None:
    config = local(
        {
            **SHORT_TTL,
            "spillway:package.path": "packages/a",
            "spillway:cost_guard.prices": {"ec2/g5.xlarge/eu-west-1": 2.0},
            "spillway:model_server.engine": "l4/fp16",
            "spillway:burst.sagemaker.engine": "a10g/fp16",
        }
    )
    assert says_too_slow(config)
    assert not says_too_slow(local({}))
    context = read_policies(config, ROOT)[1]
    assert context.package == ROOT / "packages" / "a"
    assert context.engines == ("l4/fp16", "a10g/fp16")
    assert context.prices == {"ec2/g5.xlarge/eu-west-1": 2.0}


def test_one_engine_on_two_sites_is_judged_once() -> None:
    engine = "l4/fp16"
    config = local({"spillway:model_server.engine": engine, "spillway:burst.sagemaker.engine": engine})
    assert read_policies(config, ROOT)[1].engines == (engine,)


@pytest.mark.parametrize(
    "config",
    [
        {"spillway:policies": json.dumps({"dns_ttl": {"max_ttl_s": 5}}), "demo:size": "3"},
        local({**SHORT_TTL, "spillway:exposure": "everyone"}),
    ],
    ids=["another program", "a file that the program refuses"],
)
def test_the_policies_count_where_the_rest_is_no_stack(config: dict[str, str]) -> None:
    assert says_too_slow(config)
    assert read_policies(config, ROOT)[1] == Context()


def test_a_misspelt_policy_is_named_as_in_the_file() -> None:
    for config in (
        local({"spillway:policies.dns_ttl": {"max_tl_s": 5}}),
        {"spillway:policies": '{"dns_ttl": {"max_tl_s": 5}}'},
    ):
        with pytest.raises(StackConfigError, match=r"spillway:policies\.dns_ttl\.max_tl_s.*did you mean max_ttl_s\?"):
            read_policies(config, ROOT)


def test_whether_the_parts_fit_together_is_asked_apart() -> None:
    """The command line leaves that to the program, which knows the secrets, so that all is told at once."""
    config = local({"spillway:burst": {}, "spilway:tags": {}})
    assert parse_settings(config).burst.sagemaker is None
    with pytest.raises(StackConfigError) as raised:
        read_settings(config, frozenset())
    told = str(raised.value)
    assert "spilway:tags: given an unknown namespace" in told
    assert "nowhere to spill" in told
    assert "spillway-secrets:kubeconfig" in told
