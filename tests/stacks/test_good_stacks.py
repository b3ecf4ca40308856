"""Stacks that ought to be good, rehearsed and judged as `spillway check` does: no false alarm, and no new true one.

Each file of ``good/`` is an example of its own: kinds of cluster, DNS, exposure, ways out, packages, regions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from policies.judge import Violation
from spillway.cli.stack import Stack
from spillway.conformance.catalogue import QUESTIONS
from spillway.twin.deploy import rehearse
from spillway.twin.deployer.api import Event
from spillway.twin.deployer.project import read_project
from tests.stacks.files import CONFIG_DIR, ROOT, changed, project, secrets_for
from tests.support.packages import SLOTS, small_package

STACKS = sorted((Path(__file__).parent / "good").glob("*.yaml"))
NAMES = [path.stem for path in STACKS]
OPEN = (ROOT / "docs" / "reference" / "open-findings.md").read_text(encoding="utf-8")
RULES = {rule.name for rules in QUESTIONS.values() for rule in rules}
OPEN_RULES = {word for word in re.findall(r"`([a-z0-9-]+)`", OPEN) if word in RULES}

pytestmark = pytest.mark.heavy


class Silent:
    def __call__(self, event: Event) -> None: ...

    @contextmanager
    def phase(self, text: str) -> Iterator[None]:
        yield

    def close(self) -> None: ...


def written(path: Path, folder: Path) -> dict[str, Any]:
    """The config of a stack file, with a package and secrets of the tests."""
    config = yaml.safe_load(path.read_text(encoding="utf-8"))["config"]
    kind: Literal["triton", "vllm"] = "vllm" if config["spillway:package"]["path"].endswith("vllm") else "triton"
    config = changed(config, {"spillway:package.path": str(small_package(folder / "package", kind))})
    if "canary" in config.get("spillway:model_server", {}):
        release = small_package(folder / "release", kind, slots=SLOTS + 1)
        config = changed(config, {"spillway:model_server.canary.package": str(release)})
    return config | secrets_for(config)


def stack_of(path: Path, folder: Path) -> Stack:
    return Stack("test", read_project(project(folder, written(path, folder))), folder / "state")


def judge(stack: Stack) -> list[Violation]:
    """What the four questions find in a stack, none of it exempt."""
    rehearsed = rehearse(stack, stack.brief(), Silent())
    verdict = stack.policies(rehearsed.secrets).verdict(rehearsed.resources, None)
    return [violation for violation in verdict.mandatory if violation.policy.name in QUESTIONS]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], list[Violation]]:
    return cache(lambda path: judge(stack_of(path, tmp_path_factory.mktemp(path.stem))))


@pytest.mark.parametrize("path", STACKS, ids=NAMES)
def test_a_good_stack_has_open_findings_alone(path: Path, judged: Callable[[Path], list[Violation]]) -> None:
    new = [violation for violation in judged(path) if violation.finding.rule not in OPEN_RULES]
    assert not new, "\n".join(_told(violation) for violation in new)


def test_what_is_mended_leaves_the_page(judged: Callable[[Path], list[Violation]]) -> None:
    """Each rule on the page is found in a good stack, or exempt in an example (which fails if nothing is found)."""
    found = {violation.finding.rule for path in STACKS for violation in judged(path)}
    exempt = {
        rule for path in CONFIG_DIR.glob("*.yaml") for rule in re.findall(r"rule: ([a-z0-9-]+)", path.read_text())
    }
    assert found | exempt >= OPEN_RULES, "mended: take them off docs/reference/open-findings.md"


def test_a_vpn_to_one_cloud_does_not_lead_the_standby_into_the_other(tmp_path: Path) -> None:
    """The standby is in AWS, and the customer's VPN ends on premises: that way to Azure ML is nobody's."""
    config = yaml.safe_load((Path(__file__).parent / "good" / "existing-vpn.yaml").read_text(encoding="utf-8"))
    azure = {
        "location": "eastus",
        "subscription_id": "00000000-0000-4000-8000-000000000001",
        "tenant_id": "00000000-0000-4000-8000-000000000002",
    }
    machines = {"vm_size": "Standard_NC4as_T4_v3", "min_instances": 1, "max_instances": 3}
    both = changed(config, {"config.spillway:azure": azure, "config.spillway:burst.azure_ml": machines})
    (tmp_path / "both.yaml").write_text(yaml.safe_dump(both), encoding="utf-8")
    found = {(one.finding.rule, one.finding.remedy != "") for one in judge(stack_of(tmp_path / "both.yaml", tmp_path))}
    assert found == {("flow-azure-ml", True)}


def _told(violation: Violation) -> str:
    finding = violation.finding
    name = finding.resource.name if finding.resource else "stack"
    return f"{finding.rule}: {name}: {finding.message}"
