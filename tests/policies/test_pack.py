"""The pack as a whole: names, docs, settings, levels, exemptions, reports, and its form under pulumi-policy."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import jsonschema
import pytest
from google.protobuf.empty_pb2 import Empty
from pulumi.runtime.proto import analyzer_pb2
from pulumi.runtime.proto.analyzer_pb2 import AnalyzerStackConfigureRequest
from pulumi.runtime.proto.analyzer_pb2_grpc import AnalyzerStub
from pydantic import ValidationError

from policies.catalogue import ALL, CONCERNS
from policies.judge import judge
from policies.pack import Pack
from policies.resources import Context
from policies.sarif import sarif
from policies.settings import PoliciesSettings
from tests.policies.support import BY_NAME, found, resource
from tests.support.paths import ROOT

HERE = Path(__file__).parent
OPEN = resource("aws:ec2/securityGroup:SecurityGroup", ingress=[{"cidrBlocks": ["0.0.0.0/0"]}])
NAME = "closed-security-groups"


def test_there_are_enough_and_each_has_a_name_of_its_own() -> None:
    assert len(ALL) >= 25
    assert len(BY_NAME) == len(ALL)


@pytest.mark.parametrize("policy", ALL, ids=lambda policy: policy.name)
def test_every_policy_has_a_spec(policy) -> None:  # pyright: ignore[reportMissingParameterType]
    """A spec file of its concern names it, which passes and fails a fragment with it."""
    module = next(m for m in CONCERNS.values() if policy in m.POLICIES)
    spec = HERE / f"test_{module.__name__.rpartition('.')[2]}.py"
    constants = {node.value for node in ast.walk(ast.parse(spec.read_text())) if isinstance(node, ast.Constant)}
    assert policy.name in constants


def test_a_level_of_the_stack_wins() -> None:
    assert [v.level for v in found(NAME, [OPEN]).violations] == ["mandatory"]
    assert [v.level for v in found(NAME, [OPEN], {"level": "advisory"}).violations] == ["advisory"]
    assert found(NAME, [OPEN], {"level": "disabled"}).ran == 0


def test_an_exemption_has_a_reason_and_covers_what_it_names() -> None:
    exempt = {"resource": OPEN.name[:-1] + "*", "reason": "the load test needs it"}
    verdict = found(NAME, [OPEN], {"exempt": [exempt]})
    assert (verdict.violations, [e.reason for e in verdict.exempted]) == ((), ["the load test needs it"])
    assert found(NAME, [OPEN], {"exempt": [{**exempt, "resource": "other-*"}]}).violations
    with pytest.raises(ValidationError):
        found(NAME, [OPEN], {"exempt": [{"resource": "*"}]})


def test_the_sarif_report_is_valid() -> None:
    exempt = [{"resource": OPEN.name, "reason": "the load test needs it"}]
    own = PoliciesSettings.model_validate(
        {"imdsv2": {"level": "advisory"}, "closed_security_groups": {"exempt": exempt}}
    )
    old = resource("aws:ec2/launchTemplate:LaunchTemplate", metadataOptions={"httpTokens": "optional"})
    package = Context(package=Path("/nowhere"))
    report = sarif(judge([OPEN, old], own, package), "stacks/config/Pulumi.test.yaml", "1.0")
    schema = json.loads((HERE / "sarif" / "sarif-schema-2.1.0.json").read_text())
    jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker()).validate(report)
    results = {result["ruleId"]: result for result in report["runs"][0]["results"]}
    assert results["imdsv2"]["level"] == "warning"
    assert results[NAME]["suppressions"][0]["justification"] == "the load test needs it"
    assert results["package-sound"]["level"] == "error"
    rules = report["runs"][0]["tool"]["driver"]["rules"]
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in results.values())


def test_a_conformance_finding_tells_its_rule_and_its_own_remedy() -> None:
    """The question's remedy only says where to look."""
    group = resource("aws:ec2/securityGroup:SecurityGroup", description="The deployer's machine")
    report = sarif(found("services-accept", [group]), "stacks/config/Pulumi.test.yaml", "1.0")
    driver, results = report["runs"][0]["tool"]["driver"], report["runs"][0]["results"]
    [result] = [one for one in results if one["ruleId"] == "services-accept/aws-call-members"]
    assert driver["rules"][result["ruleIndex"]]["id"] == "services-accept"
    assert "docs/reference/conformance.md" not in result["message"]["text"]


def test_every_policy_becomes_one_of_pulumis() -> None:
    settings = PoliciesSettings.model_validate({"dns_ttl": {"level": "advisory"}})
    made = {policy.name: policy for policy in Pack(settings, Context()).policies}
    assert made.keys() == BY_NAME.keys()
    assert made["dns-ttl"].enforcement_level is not None
    assert made["dns-ttl"].enforcement_level.value == "advisory"
    schema = made["dns-ttl"].config_schema
    assert schema is not None
    assert schema.properties["max_ttl_s"]["type"] == "integer"
    # The CLI would hand a default over as if somebody had asked for it.
    assert all("default" not in described for described in schema.properties.values())


@contextmanager
def start_pack(config: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The pack as the Pulumi CLI starts it: the folder is run, with the stack's config in the environment.

    Unbuffered: pulumi-policy writes its port to the pipe and does not flush it. Where a test fails, the pack ends, too.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PULUMI_CONFIG": json.dumps(config)}
    command = [sys.executable, "-u", str(ROOT / "policies"), "127.0.0.1:1"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as pack:
        try:
            yield pack
        finally:
            pack.kill()


def test_the_pack_serves_under_the_pulumi_cli() -> None:
    """It tells the port that it listens on; the stack need not be Spillway's."""
    with start_pack({"spillway:policies": json.dumps({"dns_ttl": {"max_ttl_s": 5}})}) as pack:
        assert pack.stdout is not None
        assert pack.stdout.readline().strip().isdigit()


def test_the_pack_does_not_start_on_a_misspelt_policy() -> None:
    with start_pack({"spillway:policies": json.dumps({"dns_tll": {}})}) as pack:
        _, said = pack.communicate(timeout=60)
    assert pack.returncode == 1
    assert "spillway:policies.dns_tll: given an unknown key; did you mean dns_ttl?" in said
    assert "Traceback" not in said


@contextmanager
def asked(config: dict[str, str]) -> Iterator[AnalyzerStub]:
    """A pack that was started without configuration, as Pulumi's CLI does it today."""
    with start_pack(config) as pack:
        assert pack.stdout is not None
        with grpc.insecure_channel(f"127.0.0.1:{pack.stdout.readline().strip()}") as channel:
            yield AnalyzerStub(channel)


def test_the_cli_tells_the_configuration_after_the_start() -> None:
    """pulumi/pulumi v3.274.1, pkg/resource/plugin/analyzer_plugin.go: by ConfigureStack, not by the environment."""
    with asked({}) as pack:
        config = {"spillway:policies": json.dumps({"dns_ttl": {"level": "advisory"}})}
        pack.ConfigureStack(AnalyzerStackConfigureRequest(stack="test", project="demo", config=config))
        levels = {policy.name: policy.enforcementLevel for policy in pack.GetAnalyzerInfo(Empty()).policies}
    assert (levels["dns-ttl"], levels["imdsv2"]) == (analyzer_pb2.ADVISORY, analyzer_pb2.MANDATORY)


def test_a_misspelt_policy_is_refused_after_the_start_too() -> None:
    config = {"spillway:policies": json.dumps({"dns_tll": {}})}
    with asked({}) as pack, pytest.raises(grpc.RpcError) as refused:
        pack.ConfigureStack(AnalyzerStackConfigureRequest(stack="test", project="demo", config=config))
    assert "spillway:policies.dns_tll: given an unknown key; did you mean dns_ttl?" in str(refused.value)
