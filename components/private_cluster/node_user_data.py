"""What EKS's GPU nodes are told at their start."""

from __future__ import annotations

from typing import Final

_NVME_FOR_PODS: Final = """\
Content-Type: application/node.eks.aws

apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
spec:
  instance:
    localStorage:
      strategy: RAID0
"""
"""nodeadm puts kubelet's and containerd's state on the instance's NVMe disks, where it has some."""


def gpu_node_user_data(huge_pages: int) -> str:
    """``huge_pages``: of 2 MiB. They are set aside before the kubelet starts, which counts them once."""
    parts = [_NVME_FOR_PODS, *([_huge_pages(huge_pages)] if huge_pages else [])]
    head = 'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="BOUNDARY"\n'
    return "\n".join([head, *(f"--BOUNDARY\n{part}" for part in parts), "--BOUNDARY--\n"])


def _huge_pages(count: int) -> str:
    return (
        'Content-Type: text/x-shellscript; charset="us-ascii"\n\n#!/bin/bash\nset -eu\n'
        f"echo vm.nr_hugepages={count} > /etc/sysctl.d/90-efa.conf\nsysctl -p /etc/sysctl.d/90-efa.conf\n"
    )
