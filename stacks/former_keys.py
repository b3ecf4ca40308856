"""Keys that a stack file once had: a file that still has one is told what to do."""

from __future__ import annotations

from typing import Final

_RENAMED: Final = {
    "gateway.anonymous.burst": "gateway.anonymous.requests_at_once",
    "gateway.clients.burst": "gateway.clients[].requests_at_once",
    "gateway.standby.desired_count": "gateway.standby.min_replicas",
    "gateway.standby.max_count": "gateway.standby.max_replicas",
    "private_cluster.dollars_per_node_hour": "private_cluster.usd_per_node_hour",
    **{
        f"private_cluster.{pool}.{old}": f"private_cluster.{pool}.{new}"
        for pool in ("gpu_pool", "system_pool")
        for old, new in (("min_size", "min_nodes"), ("max_size", "max_nodes"), ("desired_size", "initial_nodes"))
    },
}
_FEDERATED: Final = "the functions call Azure as managed identities that trust their roles in AWS"
FORMER_KEYS: Final = {
    **{old: f"it is called {new} now" for old, new in _RENAMED.items()},
    "burst.azure_ml.vnet_cidr": "nothing read it: the Azure network is one for the stack, set connectivity.vnet_cidr",
    "burst.azure_ml.batch": "nothing called the batch endpoint, and Azure refused its deployment: remove the key",
    "burst.azure_ml.deployment_name": "deployments are named in burst.azure_ml.deployments",
    "burst.azure_ml.mirror_traffic": "give the deployment its `mirror`, in burst.azure_ml.deployments",
    "burst.azure_ml.traffic": "give each deployment its `traffic`, in burst.azure_ml.deployments",
    "connectivity.federation.trust_anchor_pem": "no pod ever used the certificates: give oidc_issuer.url; its keys may "
    "lie in a bucket that AWS can reach",
    **{
        f"dns.{key}": "Traffic Manager probes neither gateway any more: remove the key"
        for key in ("probe_path", "probe_port", "probe_interval_s", "probe_timeout_s", "tolerated_failures")
    },
    "cost_guard.azure_reader_secret": f"{_FEDERATED}: remove the key and the secret",
    "cost_guard.azure_reader_principal_id": f"{_FEDERATED}: remove the key",
    "cost_guard.azure_scaler_secret": f"{_FEDERATED}, and cost_guard.cutoff.scale_to_minimum says whether the cut-off "
    "lowers Azure's instances: remove the key and the secret",
    "cost_guard.azure_scaler_principal_id": f"{_FEDERATED}: remove the key",
    "dns.switch_secret": f"{_FEDERATED}: remove the key and the secret",
    "dns.switch_principal_id": f"{_FEDERATED}: remove the key",
    "live": "the live instance count is asked of SageMaker before each change: remove the key",
    "model_server.min_available": "set model_server.max_unavailable: the servers that may be gone at once",
    "model_store.log_retention_days": "nothing read it, the store keeps no log of its own: remove the key",
    "model_store.rclone": "a container in Azure carries each package once: see model_store.courier",
    "monitoring.log_retention_days": "nothing read it: set the log_retention_days of the part whose logs are meant "
    "(burst.sagemaker, burst.azure_ml, private_cluster, cost_guard or dns)",
}
"""By path without positions in lists: what to do about the key."""
