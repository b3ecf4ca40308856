"""`spillway check`, as a user types it: exit codes, JSON, the SARIF file, the checkpoint; and the Pulumi CLI."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from rich.console import Console

from policies.catalogue import ALL
from policies.judge import Exempted, Verdict
from policies.policy import Finding
from spillway.cli.verdict import verdict_text
from spillway.contracts.resources import Resource
from spillway.twin.aws.standin import AwsStandIn
from spillway.twin.deployer.crypto import new_salt
from spillway.twin.deployer.language_host import language_host
from spillway.twin.protocol import debug_providers, serve
from tests.stacks.files import PASSPHRASE, ROOT, changed, example, project, secrets_for
from tests.support.packages import small_package

pytestmark = pytest.mark.heavy

SCHEMA = json.loads((Path(__file__).parent / "sarif" / "sarif-schema-2.1.0.json").read_text())


def stack(folder: Path, changes: dict[str, Any]) -> Path:
    """A project whose stack ``test`` is the example ``local`` with these changes."""
    config = changed(example("local"), {"spillway:package.path": str(small_package(folder / "package")), **changes})
    config.update(secrets_for(config))
    return project(folder, config)


def misspelt(folder: Path) -> Path:
    described = yaml.safe_load((stack(folder, {}) / "config" / "Pulumi.test.yaml").read_text())
    return project(folder, changed(described["config"], {"spillway:policies.dns_tll": {"max_ttl_s": 5}}))


def check(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "spillway.cli.main", "check", "-s", "test", "--json", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280, check=False)


def test_a_sound_stack_passes_but_for_a_secret_in_its_checkpoint(tmp_path: Path) -> None:
    folder = stack(tmp_path, {})
    state = {
        "urn": "urn:pulumi:test::spillway::aws:ssm/parameter:Parameter::leak",
        "type": "aws:ssm/parameter:Parameter",
        "custom": True,
        "inputs": {"value": "the-drill_key-of-the-tests"},
    }
    leaking = tmp_path / "exported.json"
    leaking.write_text(json.dumps({"version": 3, "deployment": {"resources": [state]}}))
    page, report_file = tmp_path / "flows.html", tmp_path / "report.sarif"
    asked = ("--checkpoint", str(leaking), "--sarif", str(report_file), "--flows", "--html", str(page), "--quotas")
    done = check(folder, *asked)
    told = json.loads(done.stdout)
    assert {"flow-clients", "flow-pods", "flow-apis"} <= {flow["family"] for flow in told["flows"] if flow["open"]}
    assert page.read_text(encoding="utf-8").count("<svg") == len({flow["family"] for flow in told["flows"]})
    plan = [v for v in told["violations"] if v["level"] == "mandatory" and v["resource"] != "leak"]
    assert plan == [], done.stderr
    assert ("no-plain-secrets", "leak") in {(v["policy"], v["resource"]) for v in told["violations"]}
    assert done.returncode == 1
    needed = {quota["quota"]: quota for quota in told["quotas"]}
    assert needed["EC2-VPC Elastic IPs"]["code"] == "L-0263D0A3"
    assert needed["ml.g5.xlarge for endpoint usage"]["during_a_change"] == 4
    assert {quota["verdict"] for quota in told["quotas"]} == {"unknown"}
    assert "drill_key-of" not in done.stdout + done.stderr
    report = json.loads(report_file.read_text())
    jsonschema.Draft4Validator(SCHEMA).validate(report)
    located = report["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert located == "config/Pulumi.test.yaml"
    assert not (folder / ".spillway").exists()


def test_a_faulty_stack_ends_with_one_and_is_not_deployed_either(tmp_path: Path) -> None:
    folder = stack(tmp_path, {"spillway:policies.dns_ttl": {"max_ttl_s": 5}})
    done = check(folder)
    told = json.loads(done.stdout)
    assert (done.returncode, told["passed"]) == (1, False)
    named = {violation["policy"]: violation for violation in told["violations"] if violation["level"] == "mandatory"}
    assert named.keys() == {"dns-ttl"}
    assert named["dns-ttl"]["remediation"] == "Lower `dns.ttl_s` in the stack file."
    command = [sys.executable, "-m", "spillway.cli.main", "preview", "-s", "test", "--deployer", "embedded"]
    refused = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280, check=False)
    assert refused.returncode == 1
    assert "Policies refuse this stack; nothing was created." in refused.stderr
    assert "dns-ttl" in refused.stderr


def test_a_misspelt_policy_is_a_wrong_stack_file(tmp_path: Path) -> None:
    done = check(misspelt(tmp_path))
    assert done.returncode == 2
    assert "dns_tll" in done.stderr
    assert "dns_ttl" in done.stderr


_PROGRAM = """
import pulumi
import pulumi_aws as aws
tags = {{"owner": "o", "cost-centre": "c", "stack": "s"}}
zone = aws.route53.Zone("zone", name="example.com", tags=tags, opts=pulumi.ResourceOptions(protect=True))
aws.route53.Record("slow", zone_id=zone.id, name="a", type="CNAME", ttl={ttl}, records=["b.example.com"])
"""


@pytest.mark.pulumi_cli
@pytest.mark.skipif(shutil.which("pulumi") is None, reason="there is no `pulumi` on PATH")
def test_the_pulumi_cli_runs_the_same_pack(tmp_path: Path) -> None:
    """The pack's own settings come from the stack, and from --policy-pack-config over it."""
    program = tmp_path / "program"
    program.mkdir()
    (tmp_path / "Pulumi.yaml").write_text(yaml.safe_dump({"name": "demo", "main": "program/", "runtime": "python"}))
    config = {"spillway:policies": {"dns_ttl": {"max_ttl_s": 90}}}
    salt = new_salt(PASSPHRASE)
    (tmp_path / "Pulumi.test.yaml").write_text(yaml.safe_dump({"config": config, "encryptionsalt": salt}))
    over = tmp_path / "over.json"
    over.write_text(json.dumps({"dns-ttl": {"max_ttl_s": 30}}))
    with serve([AwsStandIn("http://127.0.0.1:1")], program) as ports:
        environment = {
            **os.environ,
            "PULUMI_BACKEND_URL": f"file://{tmp_path}",
            "PULUMI_HOME": str(tmp_path / "home"),
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PULUMI_DEBUG_PROVIDERS": debug_providers(ports),
        }

        def pulumi(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = ["pulumi", "--non-interactive", "--color", "never", *arguments]
            with language_host(program, environment) as languages:
                attached = {**environment, "PULUMI_DEBUG_LANGUAGES": languages}
                return subprocess.run(
                    command, cwd=tmp_path, env=attached, capture_output=True, text=True, timeout=280, check=False
                )

        def preview(ttl: int, *more: str) -> subprocess.CompletedProcess[str]:
            (program / "__main__.py").write_text(_PROGRAM.format(ttl=ttl))
            return pulumi("preview", "--stack", "test", "--policy-pack", str(ROOT / "policies"), *more)

        assert pulumi("stack", "init", "test", "--no-select").returncode == 0
        good = preview(60)
        assert good.returncode == 0, good.stdout + good.stderr
        slow = preview(120)
        assert slow.returncode != 0
        assert "dns-ttl" in slow.stdout
        assert "ttl has to be at most 90 s" in slow.stdout
        strict = preview(60, "--policy-pack-config", str(over))
        assert strict.returncode != 0
        assert "ttl has to be at most 30 s" in strict.stdout


def test_every_exempt_finding_is_counted_where_it_is_shown() -> None:
    policy = next(policy for policy in ALL if policy.name == "pinned-images")
    key = Resource("aws:kms/key:Key", "key", "urn:pulumi:test::spillway::aws:kms/key:Key::key", {})
    exempted = tuple(Exempted(policy, Finding(key, said), "a test") for said in ("one", "two", "three"))
    shown = io.StringIO()
    Console(width=100, file=shown).print(*verdict_text(Verdict((), exempted, 51)))
    assert re.search(r"pinned-images \S key +\S 3 +\S a test", shown.getvalue())
    assert "3 exempt." in shown.getvalue()
