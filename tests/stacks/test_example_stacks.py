"""The example stacks: complete, valid by the schema, readable with the published passphrase, and planned."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from spillway.twin.deployer.project import read_project, read_stack_config
from stacks.rules.stack_name import LONGEST
from stacks.schema import json_schema
from stacks.stack_file import read_settings
from tests.stacks.files import CONFIG_DIR, PASSPHRASE, ROOT, changed, example
from tests.support.packages import small_package
from tests.support.plans import preview

STACKS = ("local", "dev", "prod", "deepseek", "deepseek-v3")
VALIDATOR = jsonschema.Draft202012Validator(json_schema())


@pytest.mark.parametrize("stack", STACKS)
def test_an_example_fits_the_schema(stack: str) -> None:
    described = yaml.safe_load((CONFIG_DIR / f"Pulumi.{stack}.yaml").read_text(encoding="utf-8"))
    assert [error.message for error in VALIDATOR.iter_errors(described)] == []


def test_the_schema_refuses_what_the_program_refuses() -> None:
    good = example("local")
    for key, value in {
        "spillway:protect_dat": True,
        "spillway:dns.ttl_s": 3600,
        "spillway:burst.sagemaker.min_instances": 0,
        "spillway:private_cluster.kind": "gke",
        "spillway-secrets:drill_key": "in clear",
    }.items():
        assert list(VALIDATOR.iter_errors({"config": changed(good, {key: value})})), key


@pytest.mark.parametrize("stack", ["dev", "prod", "deepseek", "deepseek-v3"])
def test_an_example_is_complete(stack: str) -> None:
    """Its secrets open with the published passphrase, and it names every secret that it uses."""
    config = read_stack_config(read_project(ROOT), stack, PASSPHRASE)
    names = frozenset(key.split(":")[1] for key in config.secret_keys)
    assert {f"spillway-secrets:{name}" for name in names} == config.secret_keys
    read_settings(config.values, names)


def test_the_local_stack_lacks_only_the_secrets_that_the_twin_makes() -> None:
    made = frozenset({"gateway_operator_key", "drill_key", "kubeconfig"})
    read_settings(read_stack_config(read_project(ROOT), "local", PASSPHRASE).values, made)


@pytest.mark.heavy
@pytest.mark.parametrize(("stack", "at_least"), [("local", 100), ("dev", 100), ("prod", 120)])
def test_an_example_is_planned(tmp_path: Path, stack: str, at_least: int) -> None:
    config = changed(example(stack), {"spillway:package.path": str(small_package(tmp_path / "package"))})
    longest = "a" * (LONGEST - len("spillway-"))
    plan = preview(tmp_path / "project", config, longest)

    assert sum(resource.custom for resource in plan.resources) >= at_least
    assert plan.outputs.keys() >= {
        "gateways",
        "endpoints",
        "dns_name",
        "dashboards",
        "alarms",
        "package",
        "price_per_hour",
    }
