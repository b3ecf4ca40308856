"""Build the real Pulumi CLI from the Go module proxy, once a version, and print the folder to put on PATH.

CI runs the tests marked `pulumi_cli` with it. Users take the same program, ready made, from Pulumi's own site.
It has no language host: Spillway's own serves the programs. The build takes about ten minutes of CPU.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.go_build import go_build, run
from spillway.twin.tools import cache_folder

VERSION = "v3.274.1"
COMMAND = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
# The Automation API refuses a program that does not know its version.
NAMED = f"-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version={VERSION}"
MODULE = f"""\
module spillway/pulumi-cli

go 1.24

require (
	github.com/pulumi/pulumi/pkg/v3 {VERSION}
	github.com/pulumi/pulumi/sdk/v3 {VERSION}
)
"""


def main() -> int:
    folder = cache_folder(f"pulumi-{VERSION}")

    def build() -> None:
        if not (folder / "pulumi").is_file():
            go_build(folder / "pulumi", COMMAND, MODULE, NAMED)

    return run(folder, build)


if __name__ == "__main__":
    sys.exit(main())
