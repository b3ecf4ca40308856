"""Where vLLM keeps the KV of prompts that its GPUs have no room for: the server's memory, then the node's disk.

vLLM's own connector, with its options as https://docs.vllm.ai/en/v0.30.0/features/kv_offloading_usage/ has them. The
tier in memory is a region of /dev/shm (``vllm/v1/kv_offload/cpu/shared_offload_region.py``) that throws out what was
used longest ago. The tier on disk throws out nothing (``vllm/v1/kv_offload/tiering/fs``): a container beside the server
does. What is gone when it is wanted is computed again.
"""

from __future__ import annotations

from typing import Any, Final

from components.model_server.settings import KvTiersSettings
from spillway.contracts.quantities import format_quantity, parse_quantity

FOLDER: Final = "/kv"
VOLUME: Final = "kv"
OPTION: Final = "kv-transfer-config"
KEEP_PERCENT: Final = 80
"""Share of the disk above which the oldest files go; the rest is for what is written between two looks."""

SWEEP: Final = """trap 'exit 0' TERM
over() { test "$(du -sk "$KV_FOLDER" | cut -f1)" -gt "$KV_KEEP_KIB"; }
while :; do
  touch "$KV_FOLDER/.swept"
  for minutes in 4320 1440 480 120 30 8 2 0; do
    over || break
    find "$KV_FOLDER" -name '*.bin' -mmin "+$minutes" -delete
  done
  sleep "$KV_EVERY_S" & wait $!
done
"""
"""Takes the oldest files until the rest fits. Their age is when they were written: reading past the page cache leaves
no trace in a file's times."""
EVERY_S: Final = 5
SWEEPS: Final = ("/bin/sh", "-c", 'test -n "$(find "$KV_FOLDER/.swept" -mmin -2)"')
"""Succeeds while it does."""


def arguments(tiers: KvTiersSettings) -> dict[str, Any]:
    """Further options of ``vllm serve``."""
    extra: dict[str, Any] = {"cpu_bytes_to_use": int(parse_quantity(tiers.memory))}
    if tiers.disk:
        disk = {"type": "fs", "root_dir": FOLDER, "locality": "LOCAL"}
        extra |= {"spec_name": "TieringOffloadingSpec", "secondary_tiers": [disk]}
    config = {
        "kv_connector": "OffloadingConnector",
        "kv_role": "kv_both",
        # By default a request fails whose KV is gone.
        "kv_load_failure_policy": "recompute",
        "kv_connector_extra_config": extra,
    }
    return {OPTION: config}


def sweeper_environment(disk: str) -> dict[str, str]:
    keep = int(parse_quantity(disk)) * KEEP_PERCENT // 100 // 1024
    return {"KV_FOLDER": FOLDER, "KV_KEEP_KIB": str(keep), "KV_EVERY_S": str(EVERY_S)}


def together(*sizes: str) -> str:
    """A quantity that is the sum of others."""
    return format_quantity(sum((parse_quantity(size) for size in sizes), start=parse_quantity("0")))
