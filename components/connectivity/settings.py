"""Network paths between the sites: the stack file's ``connectivity`` part."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import AfterValidator, Field, model_validator

from components.connectivity.azure_settings import RESERVED_NUMBERS, AzureNetworkSettings, AzureVpnSettings
from components.retention import RetentionDays
from spillway.contracts.frozen import Settings
from spillway.contracts.image_names import split_host

Nat = Literal["none", "single", "per_zone"]

INTERFACE_ENDPOINTS: Final = (
    "autoscaling",
    "ec2",
    "ec2messages",
    "ecr.api",
    "ecr.dkr",
    "eks",
    "eks-auth",
    "elasticloadbalancing",
    "events",
    "kms",
    "lambda",
    "logs",
    "monitoring",
    "sagemaker.api",
    "sagemaker.runtime",
    "secretsmanager",
    "sns",
    "sqs",
    "ssm",
    "ssmmessages",
    "sts",
)
"""Every AWS API that something in the private subnets calls. S3 has a gateway endpoint besides."""


PRIVATE_NETWORKS: Final = tuple(IPv4Network(cidr) for cidr in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
"""RFC 1918."""


def is_private(cidr: str) -> bool:
    """Whether a network is inside the private ranges (RFC 1918), hence not reached over the Internet."""
    return any(IPv4Network(cidr).subnet_of(private) for private in PRIVATE_NETWORKS)


def _private_network(cidr: str) -> str:
    network = _network(cidr)
    if not 16 <= network.prefixlen <= 20:
        raise ValueError(
            f"{cidr} is a /{network.prefixlen}; allowed: /16 to /20, room for three zones, e.g. 10.40.0.0/16"
        )
    if not is_private(cidr):
        raise ValueError(f"{cidr} is not a private range; use one of 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16")
    return cidr


def _network(cidr: str) -> IPv4Network:
    try:
        return IPv4Network(cidr)
    except ValueError as error:
        raise ValueError(f"{cidr!r} is not an IPv4 network ({error}); write it like 10.40.0.0/16") from None


def _cidr(cidr: str) -> str:
    if _network(cidr).prefixlen == 0:
        raise ValueError(f"{cidr} lets the whole Internet in; list the networks that need access, e.g. 198.51.100.0/24")
    return cidr


def _address(address: str) -> str:
    try:
        return str(IPv4Address(address))
    except ValueError:
        raise ValueError(f"{address!r} is not an IPv4 address; write it like 198.51.100.10") from None


Cidr = Annotated[str, AfterValidator(_cidr)]
"""An IPv4 network, never all of the Internet."""

SiteCidr = Annotated[str, AfterValidator(_private_network)]
"""A private IPv4 network of /16 to /20."""


class VpnSettings(Settings):
    """The site-to-site VPN to the network of the private cluster."""

    peer_address: Annotated[str, AfterValidator(_address)]
    """Public IPv4 address of the private site's VPN device."""

    peer_cidrs: Annotated[tuple[Cidr, ...], Field(min_length=1)]
    """Networks behind that device; they must not overlap the VPC or the VNet."""

    peer_asn: Annotated[int, Field(ge=1, le=4294967294)] = 65010
    """BGP autonomous system number of the device; private use is 64512 to 65534."""

    aws_asn: Annotated[int, Field(ge=64512, le=4294967294)] = 64512
    """BGP autonomous system number of the AWS side (Amazon's default)."""

    psk_secret: str = "vpn_pre_shared_key"
    """Name of the stack secret with the tunnels' pre-shared key (8 to 64 letters, digits, dots, underscores)."""

    azure: AzureVpnSettings = AzureVpnSettings()
    """The Azure end, where there is one."""

    @model_validator(mode="after")
    def _azure_takes_the_peer(self) -> VpnSettings:
        bgp = self.azure.bgp
        if bgp and (self.peer_asn in RESERVED_NUMBERS or self.peer_asn == bgp.asn):
            raise ValueError(
                f"peer_asn is {self.peer_asn}, which is Azure's own; give the device another one, e.g. 65010"
            )
        if bgp and bgp.peer_address == self.peer_address:
            raise ValueError(
                f"azure.bgp.peer_address is {bgp.peer_address}, the device's public address; "
                "give the one that it speaks BGP with inside the tunnels"
            )
        return self


class OidcIssuerSettings(Settings):
    """A cluster outside AWS whose service-account tokens AWS shall trust."""

    url: Annotated[str, Field(pattern=r"^https://[^/?#]+(/[^?#]*)?$")]
    """The issuer, as in the tokens' ``iss``: https, reachable by AWS for its keys."""

    thumbprints: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")], ...] = ()
    """SHA-1 of the issuer's CA certificate, for one that is not signed by a public CA."""

    provider_arn: Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:oidc-provider/.+$")] | None = None
    """The AWS account's IAM OIDC provider for it; made when left out. An account has one of each issuer, so a second
    stack on the cluster names the first one's."""

    @model_validator(mode="after")
    def _of_this_issuer(self) -> OidcIssuerSettings:
        if self.provider_arn and self.provider_arn.partition("/")[2] != self.url.removeprefix("https://"):
            raise ValueError(f"provider_arn is of another issuer than {self.url}: it ends as the url does")
        return self


class FederationSettings(Settings):
    """How pods of the private site get AWS credentials that expire. Not for EKS and AKS: their issuer is known."""

    oidc_issuer: OidcIssuerSettings | None = None
    """The issuer of an existing cluster. AWS fetches its keys: where it cannot reach the cluster, they can lie in a
    bucket that it can (`--service-account-issuer`)."""

    session_s: Annotated[int, Field(ge=900, le=43200)] = 3600
    """Lifetime of the credentials, seconds."""


class Cache(NamedTuple):
    """One registry that ECR can cache: the last part of its prefix, and where ECR asks for it."""

    name: str
    upstream: str


CachedRegistry = Literal["docker.io", "ghcr.io", "public.ecr.aws", "quay.io", "registry.k8s.io"]

CACHES: Final[dict[CachedRegistry, Cache]] = {
    "docker.io": Cache("hub", "registry-1.docker.io"),
    "ghcr.io": Cache("ghcr", "ghcr.io"),
    "public.ecr.aws": Cache("ecr", "public.ecr.aws"),
    "quay.io": Cache("quay", "quay.io"),
    "registry.k8s.io": Cache("k8s", "registry.k8s.io"),
}
"""https://docs.aws.amazon.com/AmazonECR/latest/userguide/pull-through-cache-creating-rule.html, read 2026-11-30. A
prefix has at most 30 characters, of which a stack's own takes 24."""

PullThroughCredential = Annotated[
    str, Field(pattern=r"^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:ecr-pullthroughcache/[\w/+=.@-]+$")
]


class MirrorSettings(Settings):
    """Where images and charts come from on sites that do not reach the Internet."""

    images: dict[str, str] = Field(default_factory=dict)
    """Upstream registry to mirror, e.g. ``nvcr.io: registry.example.com/nvcr``; ``*`` for all others."""

    charts: dict[str, str] = Field(default_factory=dict)
    """Upstream chart repository to mirror, both URLs; ``*`` for all others."""

    pull_secret: str | None = None
    """Name of the stack secret with the mirror's docker config JSON, which everything in the private cluster pulls
    with; none for a mirror without log-in."""

    pull_through: dict[CachedRegistry, PullThroughCredential | None] = Field(default_factory=dict)
    """On EKS: registries that the account's ECR keeps for nodes and standby once it was asked, each with the ARN of a
    secret ``ecr-pullthroughcache/...`` that logs in there, or null. Docker Hub and GitHub want one; ECR has no cache of
    ``nvcr.io``, and a cache's first pull goes over NAT."""

    @model_validator(mode="after")
    def _some_want_a_login(self) -> MirrorSettings:
        for registry in ("docker.io", "ghcr.io"):
            if registry in self.pull_through and not self.pull_through[registry]:
                raise ValueError(
                    f"pull_through.{registry} is null, and ECR caches it with a log-in only: give the ARN of a secret "
                    "named ecr-pullthroughcache/... with username and accessToken"
                )
        return self

    def cached(self, address: str) -> MirrorSettings:
        """With ECR's caches at ``address`` (registry and prefix) in the place of the registries that they keep."""
        caches = {registry: f"{address}/{CACHES[registry].name}" for registry in self.pull_through}
        return self.model_copy(update={"images": {**caches, **self.images}})

    def image(self, reference: str) -> str:
        """The mirrored reference of an image, or the reference itself when its registry has no mirror."""
        host, path = split_host(reference)
        registry = host or "docker.io"
        if registry == "docker.io" and "/" not in path:
            path = f"library/{path}"
        mirror = self.images.get(registry, self.images.get("*"))
        return f"{mirror.rstrip('/')}/{path}" if mirror else reference

    def chart_repository(self, url: str) -> str:
        """The mirrored chart repository, or ``url`` itself."""
        return self.charts.get(url, self.charts.get("*", url))


class DeployerHostSettings(Settings):
    """The machine in the VPC that runs the deployment (``in_vpc_runner``) or forwards to it (``tunnel``)."""

    instance_type: str = "t3.large"
    """EC2 instance type; a Pulumi run with three providers wants about 4 GiB."""

    disk_gib: Annotated[int, Field(ge=20, le=1000)] = 50
    """Root volume, GiB."""

    image_parameter: str = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
    """Public SSM parameter that names the machine image; it must fit the instance type's architecture."""

    tunnel_port: Annotated[int, Field(ge=1024, le=65535)] = 8443
    """Port on the deployer's own machine at which the tunnel to the API server begins."""

    setup_script: str | None = None
    """Shell lines that the runner executes as root at its first boot, e.g. to register it with your CI. No secrets:
    user data can be read on the machine, so let the script fetch them."""

    deploy_role_arn: Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$")] | None = None
    """The role that the runner assumes to deploy. The machine's own role holds no other right."""


class ConnectivitySettings(Settings):
    """Network paths of the design: between sites, to the cloud APIs, and from the deployer to private API servers."""

    vpc_cidr: SiteCidr = "10.40.0.0/16"
    """The AWS network."""

    zones: tuple[str, ...] | None = None
    """Three availability zones; by default the first three of the account in which EKS works, as AWS tells."""

    vnet_cidr: SiteCidr = "10.41.0.0/16"
    """The Azure network."""

    azure_network: AzureNetworkSettings = AzureNetworkSettings()
    """What a landing zone in Azure has already."""

    nat: Nat = "single"
    """Internet egress of private subnets: ``none`` (everything from mirrors), one gateway, or one a zone."""

    interface_endpoints: tuple[str, ...] = INTERFACE_ENDPOINTS
    """AWS services with an interface endpoint and private DNS in the VPC; about $7 a month each and zone."""

    flow_log_retention_days: RetentionDays = 90
    """Days that the VPC's flow logs are kept."""

    burst_egress: Literal["public_with_key", "vpn"] = "public_with_key"
    """How the private gateway reaches the burst endpoints: over the Internet with TLS and credentials, or through the
    VPN, where the private site stands at its far end. No VPN joins AWS and Azure: on EKS it is ``public_with_key``."""

    vpn: VpnSettings | None = None
    """A VPN from the VPC to your network, and its far end; with ``burst_egress: vpn`` needed, and one from the VNet."""

    deployer: Literal["in_vpc_runner", "tunnel", "authorised_cidrs", "own_network"] = "tunnel"
    """How the deployer reaches the API server: from a machine that is made in the VPC (EKS), through a tunnel to one
    (EKS), over the Internet from its own addresses, or from a network of yours that is routed to the cluster's."""

    deployer_cidrs: tuple[Cidr, ...] = ()
    """The deployer's networks; needed with ``deployer: authorised_cidrs``."""

    deployer_host: DeployerHostSettings = DeployerHostSettings()
    """The machine of ``in_vpc_runner`` and ``tunnel``."""

    mirror: MirrorSettings = MirrorSettings()
    """Image and chart mirrors."""

    federation: FederationSettings = FederationSettings()
    """Credentials for the private site without long-lived keys."""

    @model_validator(mode="after")
    def _three_zones(self) -> ConnectivitySettings:
        if self.zones is not None and len(set(self.zones)) != 3:
            raise ValueError(
                f"zones has {len(set(self.zones))} different names; "
                "list three, e.g. [eu-west-1a, eu-west-1b, eu-west-1c]"
            )
        return self

    @model_validator(mode="after")
    def _vpn_is_whole(self) -> ConnectivitySettings:
        if self.burst_egress == "vpn" and self.vpn is None:
            raise ValueError(
                "burst_egress is vpn but vpn is missing; add vpn.peer_address and vpn.peer_cidrs, "
                "or set burst_egress: public_with_key"
            )
        return self

    @model_validator(mode="after")
    def _deployer_has_networks(self) -> ConnectivitySettings:
        if self.deployer == "authorised_cidrs" and not self.deployer_cidrs:
            raise ValueError(
                "deployer is authorised_cidrs but deployer_cidrs is empty; list the deployer's networks, "
                "or use tunnel or in_vpc_runner"
            )
        if self.deployer != "authorised_cidrs" and self.deployer_cidrs:
            raise ValueError(
                f"deployer_cidrs is given but deployer is {self.deployer}; "
                "set deployer: authorised_cidrs or remove deployer_cidrs"
            )
        return self

    @model_validator(mode="after")
    def _networks_are_apart(self) -> ConnectivitySettings:
        named = [("vpc_cidr", self.vpc_cidr), ("vnet_cidr", self.vnet_cidr)]
        named += [("vpn.peer_cidrs", cidr) for cidr in (self.vpn.peer_cidrs if self.vpn else ())]
        for index, (name, cidr) in enumerate(named):
            for other_name, other in named[:index]:
                if name != other_name and IPv4Network(cidr).overlaps(IPv4Network(other)):
                    raise ValueError(
                        f"{name} {cidr} overlaps {other_name} {other}; "
                        "the sites are routed to each other, so choose ranges apart"
                    )
        return self
