"""The pack as a whole: names, docs, settings, levels, exemptions, reports, and its form under pulumi-policy."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError

from policies import docs
from policies.catalogue import ALL, CONCERNS
from policies.judge import judge
from policies.pack import pulumi_policies
from policies.resources import Context
from policies.sarif import sarif
from policies.settings import PoliciesSettings, read_config
from tests.policies.support import BY_NAME, found, resource

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


def test_the_reference_page_is_current() -> None:
    assert docs.PAGE.read_text(encoding="utf-8") == docs.page(), "run `python -m policies.docs`"


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


def test_settings_come_from_the_stacks_config() -> None:
    config = {
        "spillway:policies": json.dumps({"dns_ttl": {"max_ttl_s": 5}}),
        "spillway:package": json.dumps({"path": "packages/a"}),
        "spillway:cost_guard": json.dumps({"prices": {"ec2/g5.xlarge/eu-west-1": 2.0}}),
        "spillway:model_server": json.dumps({"engine": "l4/fp16"}),
        "spillway:burst": json.dumps({"sagemaker": {"engine": "a10g/fp16"}}),
    }
    settings, context = read_config(config, Path("/project"))
    record = resource("aws:route53/record:Record", ttl=10)
    assert [v.policy.name for v in judge([record], settings, context).violations if v.policy.name == "dns-ttl"]
    assert context.package == Path("/project/packages/a")
    assert context.engines == ("l4/fp16", "a10g/fp16")
    assert context.prices == {"ec2/g5.xlarge/eu-west-1": 2.0}
    with pytest.raises(ValidationError, match="max_tl_s"):
        read_config({"spillway:policies": '{"dns_ttl": {"max_tl_s": 5}}'}, Path())


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


def test_every_policy_becomes_one_of_pulumis() -> None:
    config = {"spillway:policies": json.dumps({"dns_ttl": {"level": "advisory"}})}
    made = {policy.name: policy for policy in pulumi_policies(config)}
    assert made.keys() == BY_NAME.keys()
    assert made["dns-ttl"].enforcement_level is not None
    assert made["dns-ttl"].enforcement_level.value == "advisory"
    schema = made["dns-ttl"].config_schema
    assert schema is not None
    assert schema.properties["max_ttl_s"]["type"] == "integer"
    # The CLI would hand a default over as if somebody had asked for it.
    assert all("default" not in described for described in schema.properties.values())
