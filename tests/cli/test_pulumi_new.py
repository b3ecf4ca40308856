# ruff: noqa: N802 - the protocol's names
"""``pulumi new`` from ``templates/``, by Pulumi's own engine: the project and the stack of ``spillway init``."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

from spillway.cli.main import cli
from spillway.twin.deployer.project import read_project, read_stack_config
from stacks.beginning import templates
from stacks.rules.secrets import required_secrets
from stacks.stack_file import read_settings
from tests.support.paths import ROOT
from tests.support.terminal import answered, rest

pytestmark = [
    pytest.mark.pulumi_cli,
    pytest.mark.skipif(shutil.which("pulumi") is None, reason="there is no `pulumi` on PATH"),
]
CURSOR = b"\x1b[7;95m \x1b[0m"
PHRASE = "four quiet words here"


class Python(language_pb2_grpc.LanguageRuntimeServicer):
    """Pulumi's plugin for Python, of which no registry has a build: it asks nothing and installs nothing, since the
    project says no tool chain. Whatever else is asked of it fails."""

    def Handshake(self, request: object, context: object) -> language_pb2.LanguageHandshakeResponse:
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: object, context: object) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version="3.274.1")

    def RuntimeOptionsPrompts(self, request: object, context: object) -> language_pb2.RuntimeOptionsResponse:
        return language_pb2.RuntimeOptionsResponse()

    def Template(self, request: object, context: object) -> language_pb2.TemplateResponse:
        return language_pb2.TemplateResponse()

    def GetRequiredPackages(self, request: object, context: object) -> language_pb2.GetRequiredPackagesResponse:
        return language_pb2.GetRequiredPackagesResponse()

    def InstallDependencies(
        self, request: object, context: object
    ) -> Iterator[language_pb2.InstallDependenciesResponse]:
        yield from ()


@pytest.fixture(scope="module")
def python() -> Iterator[str]:
    with ThreadPoolExecutor() as pool:
        server = grpc.server(pool)
        language_pb2_grpc.add_LanguageRuntimeServicer_to_server(Python(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"python:{port}"
        server.stop(None).wait()


@pytest.mark.parametrize("template", templates())
def test_a_project_from_the_template_is_the_one_that_init_writes(
    template: str, python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "made"
    (tmp_path / "state").mkdir()
    made.mkdir()
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        # What shows a question differs between terminals, and none of it depends on whose the machine is.
        "TERM": "xterm",
        "PULUMI_HOME": str(tmp_path / "home"),
        "PULUMI_BACKEND_URL": f"file://{tmp_path / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": PHRASE,
        "PULUMI_DEBUG_LANGUAGES": python,
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }
    asked = ["pulumi", "new", str(ROOT / "templates" / template), "--offline"]
    asked += ["-n", "shop", "-d", "ours", "-s", "dev"]
    master, slave = pty.openpty()
    child = subprocess.Popen(asked, cwd=made, env=variables, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    secrets = {b"app_key": "typed", b"operator_key": "drawn", b"kubeconfig": "of the cluster"}
    secrets = {name: value for name, value in secrets.items() if template != "eks" or name != b"kubeconfig"}
    questions = [(b"cost_centre", ""), (b"spillway:owner", ""), *secrets.items()]
    shown = answered(master, questions, ends=CURSOR, enter="\r") + rest(master)
    assert child.wait(60) == 0, shown
    assert b"spillway check -s dev" in shown

    config = read_stack_config(read_project(made), "dev", PHRASE)
    settings = read_settings(config.values, hidden=config.secret_keys)
    wanted = {f"spillway-secrets:{name}" for name in required_secrets(settings)}
    assert wanted <= config.secret_keys
    assert config.values["spillway-secrets:app_key"] == "typed"
    assert "typed" not in (made / "stacks" / "Pulumi.dev.yaml").read_text()

    (tmp_path / "shop").mkdir()
    monkeypatch.chdir(tmp_path / "shop")
    assert CliRunner().invoke(cli, ["init", "dev", "--template", template, "--no-secrets"]).exit_code == 0
    begun = read_stack_config(read_project(tmp_path / "shop"), "dev", PHRASE).values
    assert {key: config.values[key] for key in begun} == begun
