"""Renew ``spillway/contracts/machines.json``: CPUs and memory of the machines that node pools may be made of.

    git clone --filter=blob:none https://github.com/kubernetes/autoscaler && python scripts/machine_sizes.py autoscaler

The autoscaler's maintainers generate their tables from EC2's and Azure's own APIs.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

WRITTEN = Path(__file__).resolve().parents[1] / "spillway" / "contracts" / "machines.json"
TABLES = (
    "cluster-autoscaler/cloudprovider/aws/ec2_instance_types.go",
    "cluster-autoscaler/cloudprovider/azure/azure_instance_types.go",
)
ENTRY = re.compile(r'InstanceType: +"(?P<name>[^"]+)",[^}]*?VCPU: +(?P<cpus>\d+),\s+MemoryMb: +(?P<mib>\d+)')
KEPT = re.compile(
    # Of EC2: GPU families, and general ones for nodes without GPUs.
    r"(g[4-7]|p[3-6])[a-z-]*\.\d*(x?large|metal)|[cmr][5-8](a|i|g)?\.\d*(x?large)|t3\.\w+"
    # Of Azure: the same.
    r"|Standard_N[CDV]\w+|Standard_[DE]\d+a?s_v[3-6]"
)


def main(checkout: str) -> None:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", checkout, *arguments], check=True, capture_output=True, text=True).stdout

    commit, read_on = git("log", "-1", "--format=%h %cs").split()
    found = [match for table in TABLES for match in ENTRY.finditer(git("show", f"HEAD:{table}"))]
    sizes = {one["name"]: [int(one["cpus"]), int(one["mib"])] for one in found if KEPT.fullmatch(one["name"])}
    head = {
        "source": f"github.com/kubernetes/autoscaler at {commit} of {read_on} (Apache-2.0): {', '.join(TABLES)}",
        "meaning": "name: [CPUs, MiB of memory]",
    }
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(sizes[name])}" for name in sorted(sizes))
    WRITTEN.write_text(f'{json.dumps(head, indent=1)[:-2]},\n "sizes": {{\n{lines}\n }}\n}}\n', encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
