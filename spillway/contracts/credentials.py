"""What a gateway shows a site and a client of itself: credentials and TLS, all of it in files."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from spillway.contracts.frozen import Frozen


class NoAuth(Frozen):
    """The site asks for no credentials."""

    kind: Literal["none"] = "none"


class SigV4(Frozen):
    """The site wants AWS signatures."""

    kind: Literal["sigv4"] = "sigv4"
    region: str
    """AWS region of the endpoint."""
    service: str = "sagemaker"
    """Signing name of the service."""
    credentials_file: str | None = None
    """An AWS credentials file; ``None`` for the default chain (environment, web identity, container, instance)."""
    profile: str = "default"
    """Profile in ``credentials_file``."""


class BearerKey(Frozen):
    """The site wants ``Authorization: Bearer <key>``."""

    kind: Literal["bearer"] = "bearer"
    key_file: str
    """File that holds the key and nothing else."""


class AwsToken(Frozen):
    """The site wants a token that the agent makes of AWS credentials: AWS's OpenAI routes take no signature.

    https://docs.aws.amazon.com/sagemaker/latest/dg/realtime-endpoints-openai-compatible.html
    """

    kind: Literal["aws_token"] = "aws_token"
    region: str
    """AWS region of the endpoint."""
    service: Literal["sagemaker"] = "sagemaker"
    """Whose rights the token carries."""
    credentials_file: str | None = None
    """An AWS credentials file; ``None`` for the default chain (environment, web identity, container, instance)."""
    profile: str = "default"
    """Profile in ``credentials_file``."""


class EntraToken(Frozen):
    """The site wants a token of Microsoft Entra's. The agent gets it for the word of somebody whom a managed identity
    trusts: AWS's about the gateway's role, or the cluster's about its service account. Which identity, and where the
    cluster's word is, its environment says (:mod:`.azure_calls`): Azure draws the identity's id when it is made.

    https://learn.microsoft.com/azure/machine-learning/how-to-authenticate-online-endpoint (read on 2026-11-30)
    """

    kind: Literal["entra_token"] = "entra_token"
    audience: str
    """Whom the token is for."""


Auth = Annotated[NoAuth | SigV4 | BearerKey | AwsToken | EntraToken, Field(discriminator="kind")]


class UpstreamTls(Frozen):
    """TLS towards a site."""

    sni: str
    """Server name asked for and checked in the certificate."""
    ca_file: str = "/etc/ssl/certs/ca-certificates.crt"
    """Authorities that are trusted."""


class ServerTls(Frozen):
    """TLS towards clients."""

    certificate_file: str
    """Certificate chain, PEM."""
    key_file: str
    """Private key, PEM."""
