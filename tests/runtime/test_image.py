"""The gateways' runtime image: what it holds, and that it runs as both gateways start it."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import boto3
import grimp
import pytest
from moto.server import ThreadedMotoServer

from components.kubernetes_documents import RUN_AS_USER
from spillway import __version__
from spillway.contracts.classes import Site
from spillway.contracts.routing import ActiveCheck, Cutoff, Listen, RoutingTable, SiteRoute, hash_key
from tests.components.gateway.recorded import KEY_FILE, RUNTIME, containers, pod, private_gateway, standby
from tests.support.containers import (
    LIMITS,
    debian_base,
    like_a_pod,
    like_a_task,
    own_store,
    skip_without_podman,
)
from tests.support.gateway_rig import free_port
from tests.support.paths import ROOT
from tests.support.waiting import eventually

SCRIPT = ROOT / "scripts" / "image.py"
PINS = ROOT / "requirements" / "runtime.txt"
SOURCE = "https://example.com/spillway.git"
REGION = "eu-west-1"
PARAMETER = "/spillway-test/spill-cutoff"
TOKEN = "var/run/secrets/spillway-aws/token"
INVENTORY = """
import importlib.metadata, importlib.util, json, os
dev = ("pip", "pulumi", "torch", "pytest", "moto", "yaml", "components", "stacks", "spillway.twin", "spillway.cli")
try:
    open("/opt/spillway/made-at-run-time", "w")
    written = None
except OSError as error:
    written = error.strerror
print(json.dumps({
    "user": [os.getuid(), os.getgid()],
    "distributions": {d.name: d.version for d in importlib.metadata.distributions()},
    "of no use": [name for name in dev if importlib.util.find_spec(name)],
    "sbom": json.load(open("/opt/spillway/sbom.cdx.json")),
    "written": written,
}))
"""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(file: Path) -> dict[str, str]:
    return {canonical(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", file.read_text(), re.M)}


def test_every_pin_has_hashes_and_is_the_version_that_the_tests_run_on() -> None:
    lines = PINS.read_text().replace("\\\n", "").splitlines()
    assert all("--hash=sha256:" in line for line in lines if not line.startswith("#"))
    assert pins(PINS).items() <= pins(ROOT / "requirements" / "lock.txt").items()


def test_the_runtime_extra_is_what_the_runtime_imports() -> None:
    imported = set()
    graph = grimp.build_graph("spillway")
    runtime = {"spillway.runtime", *graph.find_descendants("spillway.runtime")}
    for module in runtime | graph.find_upstream_modules("spillway.runtime", as_package=True):
        path = ROOT.joinpath(*module.split("."))
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
    owners = packages_distributions()
    wanted = {canonical(owners[name][0]) for name in imported - set(sys.stdlib_module_names) - {"spillway"}}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = {re.split(r"[<>=]", line)[0] for line in project["optional-dependencies"]["runtime"]}
    assert wanted == extra
    assert extra <= pins(PINS).keys()


def test_images_leave_out_what_git_leaves_out() -> None:
    def patterns(name: str) -> set[str]:
        lines = (ROOT / name).read_text().splitlines()
        return {line.removeprefix("**/").strip("/") for line in lines if line and not line.startswith("#")}

    assert patterns(".gitignore") <= patterns(".dockerignore")


def refusal(*arguments: str, path: str = os.environ["PATH"]) -> str:
    command = [sys.executable, str(SCRIPT), "build", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "PATH": path})
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("base", ["", "python:3.11-slim", "python:3.11-slim@sha256:abc", "oci:"])
def test_a_base_whose_bytes_are_not_pinned_is_refused(base: str) -> None:
    said = refusal("--base", base)
    assert (base or "not given") in said
    assert "NAME@sha256:DIGEST" in said
    assert "skopeo inspect" in said


@pytest.mark.parametrize(
    ("builder", "said"),
    [
        ("kaniko", "give one of docker, podman, buildah"),
        ("", "looked for docker, podman, buildah"),
        ("podman", "podman"),
    ],
)
def test_a_missing_builder_is_named_with_what_to_install(builder: str, said: str, tmp_path: Path) -> None:
    assert said in refusal("--base", "oci:layout:base", "--builder", builder, path=str(tmp_path))


def test_make_image_hands_on_what_it_is_given() -> None:
    given = ["BASE=oci:b", "BUILDER=podman", "NAME=r/n:1", "SOURCE=https://s", "PUSH=1"]
    # Under another make, this one would say where it is.
    shown = subprocess.run(
        ["make", "--no-print-directory", "-n", "image", *given], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    wanted = "build --base 'oci:b' --builder 'podman' --name 'r/n:1' --source 'https://s' --push"
    assert shown.splitlines()[-1].endswith(wanted)


@dataclass(frozen=True)
class Image:
    """A built image and the environment in which podman finds it."""

    name: str
    base: str
    environment: Mapping[str, str]

    def podman(self, *arguments: str) -> str:
        command = ["podman", *arguments]
        return subprocess.run(command, env=self.environment, check=True, stdout=subprocess.PIPE, text=True).stdout

    def run(self, *arguments: str) -> str:
        """One command in it, to its end."""
        return self.podman("run", "--rm", *LIMITS, *arguments)

    @contextmanager
    def running(self, name: str, log: Path, *arguments: str) -> Iterator[None]:
        """A container; at the end it is asked to stop, and has to end well."""
        command = ["podman", "run", "--rm", "--name", name, *LIMITS, *arguments, self.name]
        with (
            log.open("w") as file,
            subprocess.Popen(command, env=self.environment, stdout=file, stderr=file) as process,
        ):
            try:
                yield
            finally:
                process.terminate()
                ended = process.wait(20)
        assert ended == 0, log.read_text()

    def passes(self, container: str, check: list[str]) -> bool:
        """Whether a probe passes, which the cluster runs inside the container."""
        done = subprocess.run(["podman", "exec", container, *check], env=self.environment, capture_output=True)
        return done.returncode == 0


def build(name: str, base: str, environment: Mapping[str, str], builder: str) -> None:
    origin = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "remote.origin.url",
        "GIT_CONFIG_VALUE_0": SOURCE.replace("//", "//somebody:token@"),
    }
    command = [sys.executable, str(SCRIPT), "build", "--base", base, "--builder", builder, "--name", name]
    subprocess.run(command, env={**environment, **origin}, check=True)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    skip_without_podman()
    with own_store() as environment:
        base, name = debian_base(environment, tmp_path_factory.mktemp("base")), "localhost/spillway/runtime:test"
        build(name, base, environment, "podman")
        yield Image(name, base, environment)


@pytest.mark.heavy
def test_it_holds_the_pinned_distributions_and_nothing_else(image: Image) -> None:
    found = json.loads(
        image.run("--read-only", "--read-only-tmpfs=false", "--entrypoint", "python", image.name, "-c", INVENTORY)
    )
    installed = {canonical(name): version for name, version in found["distributions"].items()}
    listed = {canonical(part["name"]): part["version"] for part in found["sbom"]["components"]}
    assert installed == listed == pins(PINS)
    assert found["user"] == [RUN_AS_USER, RUN_AS_USER]
    assert found["of no use"] == []
    assert found["written"] == "Read-only file system"
    described = found["sbom"]["metadata"]["component"]
    assert (described["name"], described["version"]) == ("spillway-runtime", __version__)


@pytest.mark.heavy
def test_its_configuration_says_what_it_is(image: Image) -> None:
    (shown,) = json.loads(image.podman("image", "inspect", image.name))
    assert shown["Config"]["User"] == f"{RUN_AS_USER}:{RUN_AS_USER}"
    said = {key.rpartition(".")[2]: value for key, value in shown["Labels"].items() if "opencontainers" in key}
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert said["revision"].removesuffix("-dirty") == head.strip()
    assert (said["version"], said["licenses"], said["source"]) == (__version__, "Apache-2.0", SOURCE)
    assert "token" not in json.dumps(shown)
    assert shown["Size"] < 300e6


@pytest.mark.heavy
@pytest.mark.skipif(shutil.which("buildah") is None, reason="buildah is not on PATH")
def test_buildah_makes_the_same_bytes_as_podman(image: Image) -> None:
    build("localhost/spillway/runtime:again", image.base, image.environment, "buildah")
    shown = image.podman("image", "inspect", image.name, "localhost/spillway/runtime:again")
    first, second = (found["RootFS"]["Layers"] for found in json.loads(shown))
    assert first == second


def routing(**changes: Any) -> RoutingTable:
    private = SiteRoute(
        site=Site.PRIVATE,
        host="127.0.0.1",
        port=8000,
        host_header="model-server",
        region="basement",
        slots=2,
        health=ActiveCheck(),
    )
    values = {"model": "m", "operator_key_sha256": hash_key("key"), "sites": (private,), "runtime_dir": RUNTIME}
    return RoutingTable(**{**values, **changes})


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=free_port(), verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def hand_over(*folders: Path) -> None:
    """As a pod's ``fsGroup`` does."""
    for folder in folders:
        folder.mkdir(parents=True)
        os.chown(folder, RUN_AS_USER, RUN_AS_USER)


@pytest.mark.heavy
def test_it_runs_in_the_pod_beside_the_private_cluster(image: Image, tmp_path: Path, aws: str) -> None:
    ssm = boto3.client("ssm", REGION, endpoint_url=aws, aws_access_key_id="a", aws_secret_access_key="s")
    ssm.put_parameter(Name=PARAMETER, Value='{"closed": ["P2"]}', Type="String")
    listen = Listen(agent_port=free_port())
    spec = pod(private_gateway(listen))
    (first,), (_, agent) = spec["initContainers"], spec["containers"]
    hand_over(tmp_path / RUNTIME[1:], tmp_path / "tmp")
    table = routing(listen=listen, cutoff=Cutoff(parameter=PARAMETER, region=REGION))
    for path, text in {"etc/spillway/routing.json": table.model_dump_json(), TOKEN: "token"}.items():
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(text)
    here = ("--network", "host", "--env", f"AWS_ENDPOINT_URL={aws}")

    image.run(*like_a_pod(spec, first, tmp_path), *here, image.name)
    files = sorted(file.name for file in (tmp_path / RUNTIME[1:] / "eds").iterdir())
    groups = [group for first in table.groups() for group in (first, table.second_chance(first))]
    assert files == sorted(f"{group.name}.json" for group in groups)

    log = tmp_path / "agent.log"
    with image.running("agent", log, *like_a_pod(spec, agent, tmp_path), *here):
        ready = agent["readinessProbe"]["exec"]["command"]
        eventually(lambda: image.passes("agent", ready), 60, "the agent is ready")
        assert image.passes("agent", agent["livenessProbe"]["exec"]["command"])
        with urllib.request.urlopen(f"http://127.0.0.1:{listen.agent_port}/healthz") as answer:
            assert json.load(answer) == {"sites": {"private": True}, "closed": ["P2"], "failing": None}
    assert "WARNING" not in log.read_text()


@pytest.mark.heavy
def test_it_runs_in_the_standby_gateways_task(image: Image, tmp_path: Path) -> None:
    table = routing()
    task = containers(standby(routing_json=table.model_dump_json()))
    (secret,) = task["files"]["secrets"]
    given = ("--network", "none", "--env", f"{secret['name']}=azure-key-value")

    image.run(*like_a_task(task["files"], tmp_path), *given, image.name)
    placed = tmp_path / "etc/spillway/routing.json"
    assert (placed.stat().st_uid, placed.stat().st_mode & 0o777) == (RUN_AS_USER, 0o400)
    assert (tmp_path / KEY_FILE[1:]).read_text() == "azure-key-value"
    written = {file.stat().st_uid for file in (tmp_path / RUNTIME[1:] / "eds").iterdir()}
    assert written == {RUN_AS_USER}

    log = tmp_path / "agent.log"
    with image.running("agent", log, *like_a_task(task["agent"], tmp_path), "--network", "none"):
        _, *check = task["agent"]["healthCheck"]["command"]
        eventually(lambda: image.passes("agent", check), 60, "the agent is well")
    assert "WARNING" not in log.read_text()
