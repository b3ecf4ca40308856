"""What only the embedded deployer promises: surviving kills, its file, its lock, and that the CLI reads its file."""

from __future__ import annotations

import gc
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from spillway.contracts.resources import Resource, Violation
from spillway.twin.deployer.api import DeployerError, InterruptedUpError
from spillway.twin.deployer.checkpoint import exclusive
from spillway.twin.deployer.choose import choose_deployer
from spillway.twin.deployer.embedded import EmbeddedDeployer
from spillway.twin.deployer.policy import plain_resources
from spillway.twin.deployer.pulumi_cli import PulumiCli
from tests.twin.deployer.conftest import PASSPHRASE, Demo, ops

BEFORE = """
a = thing("a", zone="x")
b = thing("b", upstream=a.arn)
s = thing("s", _kind="Stubborn", zone="x")
gone = thing("gone")
"""
AFTER = """
a = thing("a", zone="y")
b = thing("b", upstream=a.arn, size=3)
s = thing("s", _kind="Stubborn", zone="y")
new = thing("new", upstream=s.arn)
"""
AFTER_NAMES = ["a", "b", "new", "s"]
POINTS = [
    *(f"{when}:create:{n}" for when in ("before", "after") for n in (1, 2, 3)),
    *(f"{when}:update:1" for when in ("before", "after")),
    *(f"{when}:delete:{n}" for when in ("before", "after") for n in (1, 2, 3)),
]


def killed_up(demo: Demo, *arguments: str, kill: str = "") -> int:
    environment = {**os.environ, "DEMO_KILL": kill, "PYTHONPATH": str(Path.cwd())}
    driver = Path(__file__).with_name("crash_driver.py")
    command = [sys.executable, str(driver), str(demo.root), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


def assert_converges(demo: Demo, names: list[str]) -> None:
    demo.deployer.up()
    assert demo.cloud.names() == names
    assert not demo.deployer.preview().changed
    deployment = demo.deployer.export()["deployment"]
    assert deployment["pending_operations"] == []
    assert not [r for r in deployment["resources"] if r.get("delete") or r.get("pendingReplacement")]
    ids = {r["id"] for r in deployment["resources"] if r["type"].startswith("demo:")}
    assert ids == set(demo.cloud.resources)


@pytest.mark.heavy
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_a_step_is_made_good_by_the_next_up(demo: Demo, point: str) -> None:
    demo.project.program(BEFORE)
    demo.deployer.up()
    demo.project.program(AFTER)
    assert killed_up(demo, kill=point) == -signal.SIGKILL
    assert_converges(demo, AFTER_NAMES)


@pytest.mark.heavy
def test_a_kill_at_any_write_is_made_good_by_the_next_up(demo: Demo) -> None:
    writes = 0
    while True:
        writes += 1
        demo.project.program(BEFORE)
        demo.deployer.up()
        demo.project.program(AFTER)
        code = killed_up(demo, f"write:{writes}")
        assert_converges(demo, AFTER_NAMES)
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert writes > 10


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(10))
def test_a_kill_at_a_random_moment_is_made_good_by_the_next_up(demo: Demo, seed: int) -> None:
    chance = random.Random(seed)
    demo.project.program(
        "\n".join(f"t{i} = thing('t{i}', upstream={f't{i - 1}.arn' if i % 3 else '1'})" for i in range(20))
    )
    driver = Path(__file__).with_name("crash_driver.py")
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    process = subprocess.Popen(
        [sys.executable, str(driver), str(demo.root)], env=environment, stderr=subprocess.DEVNULL
    )
    target = chance.randrange(1, 20)
    while process.poll() is None and len(demo.cloud.log) < target:
        time.sleep(0.001)
    time.sleep(chance.random() * 0.01)
    process.kill()
    process.wait()
    assert_converges(demo, sorted(f"t{i}" for i in range(20)))


def test_a_program_changed_after_a_kill_leaves_no_orphan(demo: Demo) -> None:
    demo.project.program('a = thing("a")\nb = thing("b", upstream=a.arn)')
    assert killed_up(demo, kill="after:create:2") == -signal.SIGKILL
    assert demo.cloud.names() == ["a", "b"]
    demo.project.program('a = thing("a")')
    assert_converges(demo, ["a"])


def test_a_reverted_change_after_a_killed_update_is_reverted_in_the_cloud(demo: Demo) -> None:
    demo.project.program('a = thing("a", size=1)')
    demo.deployer.up()
    demo.project.program('a = thing("a", size=2)')
    assert killed_up(demo, kill="after:update:1") == -signal.SIGKILL
    demo.project.program('a = thing("a", size=1)')
    assert_converges(demo, ["a"])
    [item] = demo.cloud.resources.values()
    assert item["inputs"]["size"] == 1


def test_a_lost_cloud_after_a_kill(demo: Demo) -> None:
    demo.project.program(BEFORE)
    assert killed_up(demo, kill="after:create:3") == -signal.SIGKILL
    demo.cloud.path.unlink()
    demo.deployer.up(refresh=True)
    assert_converges(demo, ["a", "b", "gone", "s"])


def test_ctrl_c_saves_what_runs_and_starts_nothing_more(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    demo.project.program('a = thing("a")\nb = thing("b", upstream=a.arn)')
    create = demo.stand_in.create

    def slow(*arguments: object) -> object:
        threading.Timer(0.05, signal.raise_signal, [signal.SIGINT]).start()
        time.sleep(0.8)
        return create(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(demo.stand_in, "create", slow)
    with pytest.raises(InterruptedUpError):
        demo.deployer.up()
    monkeypatch.undo()
    assert demo.cloud.names() == ["a"]
    assert {r.name for r in demo.deployer.resources()} >= {"a"}
    assert_converges(demo, ["a", "b"])


def test_two_engines_at_once_are_refused(demo: Demo) -> None:
    demo.project.program('a = thing("a")')
    with exclusive(demo.state_dir / "test.lock"):
        for act in (demo.deployer.up, demo.deployer.destroy, demo.deployer.refresh):
            with pytest.raises(
                DeployerError, match=f"Another deployer is at work on this twin .process {os.getpid()}."
            ):
                act()
    assert demo.cloud.log == []


def test_the_checkpoint_is_private_and_format_3(demo: Demo) -> None:
    demo.project.program('a = thing("a")')
    demo.deployer.up()
    path = demo.state_dir / "test.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["version"] == 3


def test_a_wrong_passphrase_is_told(demo: Demo) -> None:
    demo.project.program('a = thing("a", password=pulumi.Output.secret("hunter2"))')
    demo.deployer.up()
    with pytest.raises(DeployerError, match="PULUMI_CONFIG_PASSPHRASE"):
        EmbeddedDeployer(demo.root, "test", demo.state_dir, [demo.stand_in], "wrong").preview()


def test_every_refused_input_is_told_at_once(demo: Demo) -> None:
    demo.project.program('a = thing("a", size=0)\nb = thing("b", zone="mars", upstream=a.arn)\nc = thing("c")')
    with pytest.raises(DeployerError) as caught:
        demo.deployer.up()
    assert len(caught.value.failures) == 2
    assert "demo:index:Thing 'a': size: must be at least 1, is 0" in caught.value.failures
    assert "demo:index:Thing 'b': zone: there is no zone 'mars'" in caught.value.failures
    assert demo.cloud.log == []


def test_independent_resources_are_created_side_by_side(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    demo.project.program("\n".join(f'thing("t{i}")' for i in range(8)))
    create, together = demo.stand_in.create, threading.Barrier(8, timeout=10)

    def meet(*arguments: object) -> object:
        together.wait()
        return create(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(demo.stand_in, "create", meet)
    demo.deployer.up()
    assert len(demo.cloud.names()) == 8


def test_a_missing_stack_names_those_that_are_there(demo: Demo) -> None:
    demo.project.program("pass")
    with pytest.raises(DeployerError, match=r"stack 'nope' has no config file .* Stacks that have one: test"):
        EmbeddedDeployer(demo.root, "nope", demo.state_dir, [demo.stand_in], PASSPHRASE).preview()


def test_a_twin_keeps_its_engine(demo: Demo) -> None:
    demo.project.program('a = thing("a")')
    given = (demo.root, "test", demo.state_dir, [demo.stand_in], PASSPHRASE)
    choose_deployer(*given, kind="embedded").up()
    assert choose_deployer(*given).kind == "embedded"
    with pytest.raises(DeployerError, match="belongs to the embedded deployer"):
        choose_deployer(*given, kind="pulumi")


def test_what_a_plan_cannot_know_is_judged_before_it_is_made(demo: Demo) -> None:
    """A policy that lets pass what is not known yet sees it once more, known, before the resource exists."""

    def no_arns(resources: Sequence[Resource], *, whole: bool = True) -> list[Violation]:
        told = [r for r in resources if isinstance(r.props.get("label"), str) and "arn:" in r.props["label"]]
        return [Violation("no-arns", r.urn, "names an ARN") for r in told]

    demo.project.program('a = thing("a")\nb = thing("b", label=a.arn)')
    demo.made(policies=no_arns).preview()
    with pytest.raises(DeployerError, match=r"'b': no-arns: names an ARN"):
        demo.made(policies=no_arns).up()
    assert [item["urn"].rpartition("::")[2] for item in demo.cloud.resources.values()] == ["a"]


def test_a_rehearsal_makes_what_an_up_makes_and_leaves_no_checkpoint(demo: Demo) -> None:
    demo.project.program('a = thing("a")\nb = thing("b", upstream=a.arn)\npulumi.export("arn", b.arn)')
    rehearsed = EmbeddedDeployer(demo.root, "test", demo.state_dir, [demo.stand_in], PASSPHRASE).rehearse()
    assert ops(rehearsed) == {"a": "create", "b": "create"}
    assert demo.cloud.names() == ["a", "b"]
    assert rehearsed.outputs == {"arn": rehearsed.resources[-1].outputs["arn"]}
    assert not list(demo.state_dir.glob("*.json"))


def test_policies_see_that_a_resource_depends_on_nothing(demo: Demo) -> None:
    """Not told is another thing: it is what the Pulumi CLI's events are."""
    demo.project.program('a = thing("a")\nb = thing("b", upstream=a.arn)')
    a, b = plain_resources([r for r in demo.deployer.up().resources if r.name in ("a", "b")])
    assert (a.dependencies, b.dependencies) == (frozenset(), {a.urn})
    untold = plain_resources([replace(r, dependencies=()) for r in demo.deployer.resources()])
    assert {r.dependencies for r in untold} == {None}


def test_a_rehearsal_that_is_refused_tells_of_everything_that_would_be(demo: Demo) -> None:
    demo.project.program('a = thing("a", size=0)\nb = thing("b", label=a.arn)\nc = thing("c", size=0)')
    with pytest.raises(DeployerError) as caught:
        EmbeddedDeployer(demo.root, "test", demo.state_dir, [demo.stand_in], PASSPHRASE).rehearse()
    assert [name in str(caught.value) for name in ("'a'", "'b'", "'c'")] == [True, False, True]


def test_a_deployment_leaves_the_collector_as_it_was(demo: Demo) -> None:
    demo.project.program("import gc\npulumi.export('collects', gc.isenabled())")
    assert demo.deployer.preview().outputs == {"collects": False}
    assert gc.isenabled()


@pytest.mark.pulumi_cli
@pytest.mark.skipif(shutil.which("pulumi") is None, reason="there is no `pulumi` on PATH")
def test_the_cli_imports_the_checkpoint_and_goes_on_from_it(demo: Demo) -> None:
    demo.project.config({"demo:region": "eu"})
    demo.project.program(AFTER + 'k = thing("k", _kind="Key")\npulumi.export("token", k.token)')
    outputs = demo.deployer.up().outputs
    demo.cloud.clear_log()
    cli = PulumiCli(demo.root, "test", demo.root / "cli", [demo.stand_in], PASSPHRASE)
    cli.import_(demo.deployer.export())
    assert cli.outputs() == outputs
    assert ops(cli.preview()) == {}
    assert not cli.up().changed
    assert demo.cloud.log == []
    back = EmbeddedDeployer(demo.root, "test", demo.root / "back", [demo.stand_in], PASSPHRASE)
    back.import_(cli.export())
    assert not back.up().changed
