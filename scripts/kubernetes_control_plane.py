"""Build a real Kubernetes control plane from the Go module proxy, once a version, and print the folder it is in.

The tests marked `kubernetes` start it on loopback: etcd, the API server, the controller manager, the scheduler, and
kwok for nodes without machines; some of them LeaderWorkerSet's controller beside it. Each program is built into its
folder by itself, so a build that was ended goes on where it stopped. All of them take about fifteen minutes of CPU, at
the lowest priority.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.go_build import go_build, run
from spillway.twin.kubernetes.real.programs import ETCD, KUBERNETES, KWOK, LEADER_WORKER_SET, cached, group_controller

# Kubernetes publishes these beside itself; its own go.mod names them by a folder, which a user of the module lacks.
STAGING = [
    "api",
    "apiextensions-apiserver",
    "apimachinery",
    "apiserver",
    "cli-runtime",
    "client-go",
    "cloud-provider",
    "cluster-bootstrap",
    "code-generator",
    "component-base",
    "component-helpers",
    "controller-manager",
    "cri-api",
    "cri-client",
    "csi-translation-lib",
    "dynamic-resource-allocation",
    "endpointslice",
    "externaljwt",
    "kms",
    "kube-aggregator",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
    "metrics",
    "mount-utils",
    "pod-security-admission",
    "sample-apiserver",
    "sample-cli-plugin",
    "sample-controller",
]


@dataclass(frozen=True)
class Program:
    """One program of the control plane: the module that holds it, and the linker's names of its version."""

    name: str
    package: str
    module: str
    version: str
    replaced: tuple[str, ...] = ()
    ldflags: str = ""

    def go_mod(self) -> str:
        """A module that requires this program's, for a program cannot be built by itself where lines replace others."""
        lines = [f"module spillway/{self.name}", "", "go 1.24.0", "", f"require {self.module} v{self.version}", ""]
        return "\n".join([*lines, *(f"replace {line}" for line in self.replaced), ""])


def _kubernetes(name: str) -> Program:
    staged = KUBERNETES.replace("1.", "0.", 1)
    major, minor, _ = KUBERNETES.split(".")
    version = "k8s.io/component-base/version."
    return Program(
        name=name,
        package=f"k8s.io/kubernetes/cmd/{name}",
        module="k8s.io/kubernetes",
        version=KUBERNETES,
        replaced=tuple(f"k8s.io/{module} => k8s.io/{module} v{staged}" for module in STAGING),
        ldflags=f"-X {version}gitVersion=v{KUBERNETES} -X {version}gitMajor={major} -X {version}gitMinor={minor}",
    )


PROGRAMS = (
    Program("etcd", "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3", ETCD),
    _kubernetes("kube-apiserver"),
    _kubernetes("kube-controller-manager"),
    _kubernetes("kube-scheduler"),
    Program("kwok", "sigs.k8s.io/kwok/cmd/kwok", "sigs.k8s.io/kwok", KWOK),
)

GROUPS = Program("lws", "sigs.k8s.io/lws/cmd", "sigs.k8s.io/lws", LEADER_WORKER_SET)


def main() -> int:
    folder = cached()
    wanted = {folder / program.name: program for program in PROGRAMS} | {group_controller(): GROUPS}

    def build() -> None:
        for target, program in wanted.items():
            if not target.is_file():
                ldflags = f"-s -w {program.ldflags}"
                go_build(target, program.package, program.go_mod(), ldflags, gently=True)

    return run(folder, build)


if __name__ == "__main__":
    sys.exit(main())
