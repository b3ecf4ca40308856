"""Names by which one part finds what another has made: config keys, Kubernetes namespaces, workloads, annotations.

Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

STACK_NAMESPACE: Final = "spillway"
"""Prefix of the stack file's keys."""
SECRETS_NAMESPACE: Final = "spillway-secrets"
"""Prefix of the stack file's secrets."""


@dataclass(frozen=True)
class Namespaces:
    """A stack's namespaces in its private cluster. They start with ``prefix`` (``spillway-prod``), so that two stacks
    on one cluster never meet."""

    prefix: str

    @property
    def serving(self) -> str:
        """Model servers, and jobs that compile for them."""
        return f"{self.prefix}-serving"

    @property
    def gateway(self) -> str:
        """The gateways."""
        return f"{self.prefix}-gateway"

    @property
    def system(self) -> str:
        """Redis and the package sync."""
        return f"{self.prefix}-system"

    @property
    def monitoring(self) -> str:
        """Prometheus and what belongs to it."""
        return f"{self.prefix}-monitoring"

    @property
    def gpu_operator(self) -> str:
        """The GPU vendor's operator, and its exporter of metrics."""
        return f"{self.prefix}-gpu-operator"


GATEWAY: Final = "gateway"
"""Workload and service account in :attr:`Namespaces.gateway`."""
GATEWAY_PEERS: Final = f"{GATEWAY}-peers"
"""Service behind whose name each gateway has an address, by which they count themselves."""
REDIS: Final = "redis"
"""Workload and service in :attr:`Namespaces.system`."""
CERTIFICATE_ISSUER: Final = "certificate-issuer"
"""Service account and issuer in :attr:`Namespaces.gateway`, for whom names are proved in Route 53."""
MODEL_SERVER: Final = "model-server"
"""Workload, service and service account in :attr:`Namespaces.serving`."""
CANARY: Final = f"{MODEL_SERVER}-canary"
"""Workload and service of the servers that try a release, beside the others."""
ALERTMANAGER: Final = "alertmanager"
"""Service account of Alertmanager, in :attr:`Namespaces.monitoring`."""
SPILL_CUTOFF: Final = "spill-cutoff"
"""Parameter of AWS, below the stack's prefix: classes that may not spill."""
COMPILE_JOB: Final = "compile-engines"
"""``app.kubernetes.io/name`` of the jobs that ``spillway package compile-job`` writes; they run where models serve."""

LABEL_PREFIX: Final = "spillway.dev/"
"""Starts every label and annotation of Spillway's own."""
PACKAGE_SHA256: Final = f"{LABEL_PREFIX}package-sha256"
"""Annotation of the model server's pods: digest of the archive that they serve."""
PACKAGE_URI: Final = f"{LABEL_PREFIX}package-uri"
"""Annotation of a compile job: where its package lies."""
PACKAGE_KIND: Final = f"{LABEL_PREFIX}kind"
"""Annotation of the model server's pods: the package's kind."""
ENTRY_MODEL: Final = f"{LABEL_PREFIX}entry-model"
"""Annotation of the model server's pods: the model that clients name."""
CONFIG_SHA256: Final = f"{LABEL_PREFIX}config-sha256"
"""Annotation of the gateway's pods: digest of their configuration, so that a change rolls them."""

MODEL_VERSION: Final = "1"
"""The version of every model in a package's Triton repository."""

KEYS_FOLDER: Final = "/etc/spillway-keys"
"""Where a gateway's containers find the key files of burst sites."""

AZURE_TOKEN_FILE: Final = "/var/run/secrets/spillway-azure/token"
"""Where a gateway in AKS finds the cluster's token about its service account, which Entra takes."""

AZURE_MANAGER_URL: Final = "https://management.azure.com"
"""Azure Resource Manager."""


def ending_of(seed: str) -> str:
    """What ends a name that has to be unique: eight hexadecimal digits."""
    return sha256(seed.encode()).hexdigest()[:8]
