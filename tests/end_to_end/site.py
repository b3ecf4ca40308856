"""A local twin in a project folder of its own, driven with the words a user types, and what a client needs of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import psutil
import pytest

from spillway.contracts.classes import CLASS_HEADER, CLIENT_KEY_HEADER, OPERATOR_KEY_HEADER, SITE_HEADER, Site
from spillway.contracts.routing import RoutingTable, SiteRoute
from spillway.drill.workload import first_output, infer_body
from spillway.twin.handle import TwinHandle, find_twin, stop_twin
from tests.support.paths import ROOT
from tests.twin.data_plane.test_processes import marked

INFER = "/v2/models/minilm/infer"


@dataclass(frozen=True)
class Answer:
    """``site``: who answered, by the gateway's word."""

    status: int
    site: str
    body: bytes

    @property
    def vector(self) -> list[float]:
        return first_output(self.body) or []


@contextmanager
def standing(project: Path) -> Iterator[LocalSite]:
    """One ``up`` of a project, under the example's passphrase; no process of its twin is left."""
    local = LocalSite(project)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PULUMI_CONFIG_PASSPHRASE", raising=False)
        try:
            local.deploy()
            yield local
        finally:
            stop_twin(local.state_dir)
    assert marked(local.state_dir) == []


@dataclass
class LocalSite:
    """``up``: what the last ``spillway up`` said."""

    project: Path
    up: dict[str, Any] = field(default_factory=dict)

    @property
    def state_dir(self) -> Path:
        return self.project / ".spillway" / "local"

    def spillway(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "spillway.cli.main", *arguments, "--json"],
            cwd=self.project,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == code, done.stderr[-4000:] + done.stdout[-4000:]
        return json.loads(done.stdout)

    def deploy(self) -> dict[str, Any]:
        self.up = self.spillway("up")
        assert self.up["ok"], self.up["problems"]
        return self.up

    @property
    def twin(self) -> TwinHandle:
        twin = find_twin(self.state_dir)
        assert twin is not None
        return twin

    @property
    def gateway(self) -> str:
        return self.up["gateways"]["private"]

    @cached_property
    def operator_key(self) -> str:
        return self.secret("gateway_operator_key")

    @cached_property
    def client_key(self) -> str:
        return self.secret("drill_key")

    def secret(self, name: str) -> str:
        return (self.state_dir / "secrets" / name).read_text()

    def aws(self, service: str) -> Any:
        return aws_client(service, self.up["endpoints"]["aws"])

    def route(self, site: Site) -> SiteRoute:
        """How the private gateway reaches the site."""
        return RoutingTable.model_validate_json(
            (self.state_dir / "gateway-private" / "routing.json").read_bytes()
        ).site(site)

    def ask(
        self, text: str = "Short.", class_: str = "", site: str = "", key: str | None = None, gateway: str = ""
    ) -> Answer:
        """A sentence to a gateway; ``site`` and ``key``: choose who answers, as an operator."""
        headers = {CLIENT_KEY_HEADER: self.client_key, "content-type": "application/json"}
        if class_:
            headers[CLASS_HEADER] = class_
        if site:
            headers[SITE_HEADER] = site
        if key is not None:
            headers[OPERATOR_KEY_HEADER] = key
        return post((gateway or self.gateway) + INFER, infer_body("TEXT", text), headers)

    def processes(self) -> list[int]:
        return marked(self.state_dir)

    def listening(self) -> set[tuple[str, int]]:
        """Address and port of every listening socket of the twin's processes, their children included."""
        ours = set(self.processes())
        found = psutil.net_connections("inet")
        return {(c.laddr.ip, c.laddr.port) for c in found if c.pid in ours and c.status == psutil.CONN_LISTEN}  # pyright: ignore[reportAttributeAccessIssue]


@cache
def aws_client(service: str, endpoint: str) -> Any:
    import boto3

    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
    )


def post(url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    request = urllib.request.Request(url, body, dict(headers))
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return Answer(answer.status, answer.headers.get(SITE_HEADER, ""), answer.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.headers.get(SITE_HEADER, ""), error.read())


def make_project(folder: Path) -> Path:
    """This repository's program with a stack file and a state folder of its own."""
    described = (ROOT / "Pulumi.yaml").read_text().replace("stacks/config", "config")
    (folder / "Pulumi.yaml").write_text(described)
    (folder / "stacks").symlink_to(ROOT / "stacks")
    shutil.copytree(ROOT / "stacks" / "config", folder / "config")
    (folder / ".spillway").mkdir()
    (folder / ".spillway" / "packages").symlink_to(ROOT / ".spillway" / "packages")
    return folder
