"""The gateways' runtime image: whether its registry has it, and how it gets there from this machine.

In ECR and in an Azure registry it is pushed with the deployer's own AWS or Entra identity, in any other with the log-in
that the builder has. A log-in goes to the builder's standard input, never into arguments or messages.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from spillway.contracts.image_names import split_host

ROOT: Final = Path(__file__).resolve().parent.parent
_ECR: Final = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?")
_ACR: Final = re.compile(r"[a-z0-9]+\.azurecr\.io")
_ACR_SCOPE: Final = "https://containerregistry.azure.net/.default"
_ACR_USER: Final = "00000000-0000-0000-0000-000000000000"
"""Stands for whoever the token is of:
https://learn.microsoft.com/azure/container-registry/container-registry-authentication (2026-11-30)."""


Tool = Literal["docker", "podman", "buildah"]
BUILDERS: Final[tuple[Tool, ...]] = ("docker", "podman", "buildah")


class ImageError(Exception):
    """The image cannot be built, or brought to its registry. The message says how to mend it."""


class Builder(Protocol):
    """The user's own container tool."""

    def login(self, host: str, user: str, password: str) -> None: ...
    def is_remote(self, image: str) -> bool: ...
    def is_local(self, image: str) -> bool: ...
    def build(self, image: str, base: str) -> None: ...
    def push(self, image: str) -> None: ...


@dataclass(frozen=True)
class Reference:
    """An image's address in parts. ``host`` is empty for Docker Hub; ``digest`` with its ``sha256:``."""

    host: str
    repository: str
    tag: str
    digest: str


def parse(image: str) -> Reference:
    """``[HOST/]REPOSITORY[:TAG][@DIGEST]``."""
    named, _, digest = image.partition("@")
    host, path = split_host(named)
    repository, _, tag = path.partition(":")
    return Reference(host, repository, tag or ("" if digest else "latest"), digest)


class Registry:
    """Any registry: the builder's own log-in holds."""

    def __init__(self, image: str, builder: Builder) -> None:
        self.image = image
        self.reference = parse(image)
        self.builder = builder

    def has(self) -> bool:
        """Whether the image is there."""
        return self.builder.is_remote(self.image)

    def prepare(self) -> None:
        """Log in, and make whatever a push needs."""


class Ecr(Registry):
    """AWS's registry of one account and region."""

    def __init__(self, image: str, builder: Builder) -> None:
        super().__init__(image, builder)
        place = _ECR.fullmatch(self.reference.host)
        assert place is not None
        self._account = place["account"]
        self._region = place["region"]

    def has(self) -> bool:
        found = self.reference
        wanted = {"imageDigest": found.digest} if found.digest else {"imageTag": found.tag}
        with self._asked() as ecr:
            try:
                ecr.describe_images(registryId=self._account, repositoryName=found.repository, imageIds=[wanted])
            except (ecr.exceptions.ImageNotFoundException, ecr.exceptions.RepositoryNotFoundException):
                return False
            return True

    def prepare(self) -> None:
        with self._asked() as ecr:
            self._see_to_repository(ecr)
            token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        user, _, password = base64.b64decode(token).decode().partition(":")
        self.builder.login(self.reference.host, user, password)

    def _see_to_repository(self, ecr: Any) -> None:
        """ECR makes none by itself. Only the own account's can be made."""
        repository = self.reference.repository
        try:
            ecr.describe_repositories(registryId=self._account, repositoryNames=[repository])
        except ecr.exceptions.RepositoryNotFoundException:
            scan = {"scanOnPush": True}
            ecr.create_repository(
                repositoryName=repository, imageTagMutability="IMMUTABLE", imageScanningConfiguration=scan
            )

    @contextmanager
    def _asked(self) -> Iterator[Any]:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield boto3.client("ecr", region_name=self._region)
        except (BotoCoreError, ClientError) as error:
            raise ImageError(f"{self.reference.host} cannot be asked with your AWS identity: {error}") from None


class Acr(Registry):
    """An Azure container registry. ``tenant_id``: of the identity."""

    def __init__(self, image: str, builder: Builder, tenant_id: str) -> None:
        super().__init__(image, builder)
        self._tenant_id = tenant_id
        self._logged_in = False

    def has(self) -> bool:
        self.prepare()
        return super().has()

    def prepare(self) -> None:
        if self._logged_in:
            return
        from azure.identity import DefaultAzureCredential

        host = self.reference.host
        token = DefaultAzureCredential().get_token(_ACR_SCOPE).token
        self.builder.login(host, _ACR_USER, exchanged(f"https://{host}", host, self._tenant_id, token))
        self._logged_in = True


def exchanged(url: str, host: str, tenant_id: str, token: str) -> str:
    """The registry's own token for one of Entra's. Raises :class:`ImageError`."""
    form = {"grant_type": "access_token", "service": host, "tenant": tenant_id, "access_token": token}
    data = urllib.parse.urlencode(form).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{url}/oauth2/exchange", data), timeout=30) as answer:
            return str(json.load(answer)["refresh_token"])
    except (OSError, KeyError, ValueError) as error:
        raise ImageError(
            f"{host} takes no log-in of your Entra identity ({type(error).__name__}: {error}): it needs AcrPush on "
            "the registry"
        ) from None


def registry_of(image: str, builder: Builder, tenant_id: str) -> Registry:
    """Where the image lies, by its host."""
    host = parse(image).host
    if _ECR.fullmatch(host):
        return Ecr(image, builder)
    return Acr(image, builder, tenant_id) if _ACR.fullmatch(host) else Registry(image, builder)


def publish(registry: Registry, base: str | None) -> bool:
    """See that the image is in its registry; whether it had to be pushed.

    ``base``: to build on (``NAME@sha256:DIGEST``), where this machine has no image of that name. Raises
    :class:`ImageError` where it has none and there is no base.
    """
    if registry.has():
        return False
    image, builder = registry.image, registry.builder
    if registry.reference.digest:
        raise ImageError(
            f"gateway.agent_image is {image}, which is not in its registry: a digest names bytes that were pushed "
            "before. Name it by its tag, and by the digest that the push prints afterwards"
        )
    if not builder.is_local(image):
        if base is None:
            raise ImageError(
                f"gateway.agent_image is {image}, which neither its registry nor this machine has. Give --image-base "
                f"NAME@sha256:DIGEST to have it built and pushed, or run `make image BASE=... NAME={image} PUSH=1`; "
                "then the same command goes on"
            )
        builder.build(image, base)
    registry.prepare()
    builder.push(image)
    return True


def chosen_builder(wanted: str) -> Tool:
    """The builder that was asked for, else the first of the known ones that is here. Raises :class:`ImageError`."""
    allowed: list[Tool] = [builder for builder in BUILDERS if wanted in ("", builder)]
    if not allowed:
        raise ImageError(f"BUILDER is {wanted}: give one of {', '.join(BUILDERS)}")
    for builder in allowed:
        if _is_here(builder):
            return builder
    raise ImageError(
        f"no image builder is here: looked for {', '.join(allowed)}. "
        "Install docker with its buildx plugin, podman or buildah"
    )


def _is_here(builder: Tool) -> bool:
    if shutil.which(builder) is None:
        return False
    probe = ["docker", "buildx", "version"] if builder == "docker" else [builder, "--version"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


class LocalBuilder:
    """docker, podman or buildah, whichever is here. ``wanted``: one of them by name, else empty."""

    def __init__(self, wanted: str = "") -> None:
        self._wanted = wanted

    def login(self, host: str, user: str, password: str) -> None:
        done = subprocess.run(
            [self._tool, "login", "--username", user, "--password-stdin", host],
            input=password,
            text=True,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise ImageError(f"`{self._tool} login {host}` ended with {done.returncode}: {done.stderr.strip()}")

    def is_remote(self, image: str) -> bool:
        return self._asked("manifest", "inspect", image)

    def is_local(self, image: str) -> bool:
        return self._asked("inspect", "--type", "image", image)

    def build(self, image: str, base: str) -> None:
        self._script("build", "--base", base, "--name", image)

    def push(self, image: str) -> None:
        self._script("push", "--name", image)

    @cached_property
    def _tool(self) -> Tool:
        return chosen_builder(self._wanted)

    def _asked(self, *arguments: str) -> bool:
        return subprocess.run([self._tool, *arguments], capture_output=True, check=False).returncode == 0

    def _script(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "scripts.image", *arguments, "--builder", self._tool]
        # What it says is progress: standard output is the command's own.
        done = subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False)
        if done.returncode:
            raise ImageError(f"`{' '.join(command[1:])}` ended with {done.returncode}")
