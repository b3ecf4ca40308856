"""The runtime image on its way to a registry: ECR as moto has it, and any other as the builder sees it."""

from __future__ import annotations

import base64
import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import boto3
import pytest

from stacks.runtime_image import (
    Acr,
    Ecr,
    ImageError,
    LocalBuilder,
    Reference,
    Registry,
    exchanged,
    parse,
    publish,
    registry_of,
)
from tests.support.twin_server import serve

ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com/spillway/runtime:1.0.0"
OTHER = "registry.example.com:5000/spillway/runtime:1.0.0"
DIGEST = f"sha256:{'a' * 64}"
BASE = f"python@{DIGEST}"


@dataclass
class Told:
    """A builder that keeps what it was told."""

    local: bool = True
    remote: bool = False
    log: list[str] = field(default_factory=list)

    def login(self, host: str, user: str, password: str) -> None:
        self.log.append(f"login {host} {user}")

    def is_remote(self, image: str) -> bool:
        return self.remote

    def is_local(self, image: str) -> bool:
        return self.local

    def build(self, image: str, base: str) -> None:
        self.log.append(f"build {base}")

    def push(self, image: str) -> None:
        self.log.append(f"push {image}")


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        (ECR, Reference("123456789012.dkr.ecr.us-east-1.amazonaws.com", "spillway/runtime", "1.0.0", "")),
        (OTHER, Reference("registry.example.com:5000", "spillway/runtime", "1.0.0", "")),
        ("spillway/runtime", Reference("", "spillway/runtime", "latest", "")),
        (f"a.azurecr.io/r@{DIGEST}", Reference("a.azurecr.io", "r", "", DIGEST)),
        (f"a.azurecr.io/r:1@{DIGEST}", Reference("a.azurecr.io", "r", "1", DIGEST)),
    ],
)
def test_an_address_is_taken_apart(image: str, parts: Reference) -> None:
    assert parse(image) == parts


def test_the_host_says_whose_registry_it_is() -> None:
    kinds = [type(registry_of(image, Told(), "t")) for image in (ECR, "a.azurecr.io/r:1", OTHER, "r:1")]
    assert kinds == [Ecr, Acr, Registry, Registry]


def test_what_is_there_is_not_pushed_again() -> None:
    told = Told(remote=True)
    assert not publish(Registry(OTHER, told), None)
    assert told.log == []


def test_what_is_on_this_machine_is_pushed_and_anything_else_is_built_first() -> None:
    told = Told()
    assert publish(Registry(OTHER, told), BASE)
    assert told.log == [f"push {OTHER}"]
    told = Told(local=False)
    assert publish(Registry(OTHER, told), BASE)
    assert told.log == [f"build {BASE}", f"push {OTHER}"]


def test_without_an_image_and_a_base_it_says_how_to_make_one() -> None:
    with pytest.raises(ImageError, match=rf"--image-base .*make image BASE=\.\.\. NAME={OTHER} PUSH=1"):
        publish(Registry(OTHER, Told(local=False)), None)


def test_a_digest_that_is_not_there_cannot_be_pushed() -> None:
    with pytest.raises(ImageError, match="a digest names bytes that were pushed before"):
        publish(Registry(f"{OTHER}@{DIGEST}", Told()), BASE)


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve("aws", tmp_path_factory.mktemp("aws")) as url:
        yield url


@pytest.fixture
def account(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ENDPOINT_URL", aws), ("ACCESS_KEY_ID", "key"), ("SECRET_ACCESS_KEY", "secret")):
        monkeypatch.setenv(f"AWS_{name}", value)


@pytest.mark.heavy
def test_ecr_gets_a_repository_and_is_logged_in_to_with_the_own_identity(account: None) -> None:
    told = Told()
    assert publish(registry_of(ECR, told, ""), None)
    assert told.log == ["login 123456789012.dkr.ecr.us-east-1.amazonaws.com AWS", f"push {ECR}"]
    ecr = boto3.client("ecr", region_name="us-east-1")
    [repository] = ecr.describe_repositories(repositoryNames=["spillway/runtime"])["repositories"]
    assert repository["imageTagMutability"] == "IMMUTABLE"
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": []}
    ecr.put_image(repositoryName="spillway/runtime", imageManifest=json.dumps(manifest), imageTag="1.0.0")
    assert not publish(registry_of(ECR, told, ""), None)
    assert not registry_of(ECR.replace("1.0.0", "2.0.0"), told, "").has()


def test_an_ecr_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"ENDPOINT_URL": "http://127.0.0.1:1", "MAX_ATTEMPTS": "1"}
    settings |= {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret"}
    for name, value in settings.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with pytest.raises(ImageError, match="cannot be asked with your AWS identity"):
        registry_of(ECR, Told(), "").has()


DOCKER = """\
#!/bin/sh
echo "$@" >> "$(dirname "$0")/arguments"
case "$1" in
login) cat > "$(dirname "$0")/password"; [ "$5" != refused.example.com ] || { echo denied >&2; exit 1; } ;;
manifest) [ "$3" = there ] ;;
inspect) [ "$4" = here ] ;;
esac
"""


def test_a_log_in_is_no_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "podman"
    script.write_text(DOCKER)
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    builder = LocalBuilder("podman")
    builder.login("registry.example.com", "AWS", "a-password")
    assert (tmp_path / "password").read_text() == "a-password"
    assert "a-password" not in (tmp_path / "arguments").read_text()
    assert [builder.is_remote(image) for image in ("there", "not")] == [True, False]
    assert [builder.is_local(image) for image in ("here", "not")] == [True, False]
    with pytest.raises(ImageError, match="ended with 1: denied") as caught:
        builder.login("refused.example.com", "AWS", "a-password")
    assert "a-password" not in str(caught.value)


def test_an_unknown_builder_is_refused() -> None:
    with pytest.raises(ImageError, match="give one of docker, podman, buildah"):
        LocalBuilder("kaniko").is_local("any")


@contextmanager
def azure_registry() -> Iterator[str]:
    """Answers as https://learn.microsoft.com/azure/container-registry/container-registry-authentication says."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
            good = self.path == "/oauth2/exchange" and form["access_token"] == ["entra"] and form["tenant"] == ["t"]
            self.send_response(200 if good else 401)
            self.end_headers()
            self.wfile.write(json.dumps({"refresh_token": base64.b64encode(b"own").decode()}).encode())

        def log_message(self, format: str, *args: object) -> None: ...

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_an_azure_registry_exchanges_entras_token_for_its_own() -> None:
    with azure_registry() as url:
        assert exchanged(url, "a.azurecr.io", "t", "entra") == base64.b64encode(b"own").decode()
        with pytest.raises(ImageError, match=r"a\.azurecr\.io takes no log-in .* AcrPush") as caught:
            exchanged(url, "a.azurecr.io", "t", "another-token")
    assert "another-token" not in str(caught.value)
