"""The stack secrets that the settings name."""

from __future__ import annotations

from components.private_cluster.settings import ExistingSettings
from spillway.contracts.names import SECRETS_NAMESPACE
from spillway.contracts.problems import Problem, key_of
from stacks.settings import StackSettings


def missing_secrets(settings: StackSettings, present: frozenset[str]) -> list[Problem]:
    """Secrets that the settings name and the stack does not have."""
    return [
        Problem(
            f"{SECRETS_NAMESPACE}:{name}",
            "nothing",
            f"{key} names this secret; set it with `pulumi config set --secret {SECRETS_NAMESPACE}:{name}`",
        )
        for name, key in required_secrets(settings).items()
        if name not in present
    ]


def caller_keys(settings: StackSettings) -> list[str]:
    """Names of the secrets by which the gateways know the operator and clients: any text will do."""
    return [settings.gateway.operator_key_secret, *(c.key_secret for c in settings.gateway.clients if c.key_secret)]


def required_secrets(settings: StackSettings) -> dict[str, str]:
    """Names of the stack secrets that these settings use, with the key that names each."""
    wanted: dict[str, str] = {}
    cluster, connectivity = settings.private_cluster, settings.connectivity
    if isinstance(cluster, ExistingSettings) and cluster.kubeconfig_secret:
        wanted[cluster.kubeconfig_secret] = key_of("private_cluster.kubeconfig_secret")
    if connectivity.vpn is not None:
        wanted[connectivity.vpn.psk_secret] = key_of("connectivity.vpn.psk_secret")
    if connectivity.mirror.pull_secret:
        wanted[connectivity.mirror.pull_secret] = key_of("connectivity.mirror.pull_secret")
    wanted[settings.gateway.operator_key_secret] = key_of("gateway.operator_key_secret")
    if (tls := settings.gateway.tls) and tls.certificate_secret and tls.key_secret:
        wanted[tls.certificate_secret] = key_of("gateway.tls.certificate_secret")
        wanted[tls.key_secret] = key_of("gateway.tls.key_secret")
    for index, client in enumerate(settings.gateway.clients):
        if client.key_secret:
            wanted[client.key_secret] = key_of(f"gateway.clients[{index}].key_secret")
    return wanted
