"""What the policies add to a preview of `prod`.

`python benchmarks/policies.py [--stack prod] [--runs 3]` plans the stack on the embedded deployer and times, in the
same process: the import of the pack, on top of what the command line imports anyway; and reading its configuration,
turning the plan into what it sees, and judging it. It prints the medians, the sum and its share of the
preview. Budget: 1 s.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUDGET_S = 1.0

CODE = """
import json, sys, tempfile, time
from pathlib import Path
sys.path.insert(0, {root!r})
import spillway.contracts.prices, spillway.contracts.routing, spillway.twin.deploy
started = time.perf_counter()
from policies.catalogue import ALL
from policies.plan import StackPolicies
imported = time.perf_counter()
from spillway.twin.deployer.policy import plain_resources
from stacks.stack_file import parse_settings, policy_context
from spillway.twin.deployer.embedded import EmbeddedDeployer
from spillway.twin.aws.standin import AwsStandIn
from spillway.twin.azure.standin import AzureStandIn
from spillway.twin.kubernetes.standin import KubernetesStandIn
from tests.stacks.files import PASSPHRASE, changed, example, flat, project, secrets_for
from tests.support.packages import small_package
folder = Path({folder!r})
config = changed(example({stack!r}), {{"spillway:package.path": str(small_package(folder / "package"))}})
config.update(secrets_for(config))
stand_ins = [kind("http://127.0.0.1:9") for kind in (AwsStandIn, AzureStandIn, KubernetesStandIn)]
begun = time.perf_counter()
plan = EmbeddedDeployer(project(folder, config), "test", folder / "state", stand_ins, PASSPHRASE).preview()
previewed = time.perf_counter()
settings = parse_settings(flat(config))
policies = StackPolicies(settings.policies, policy_context(settings, folder))
policies(plain_resources(plan.resources))
judged = time.perf_counter()
print(json.dumps(dict(preview=previewed - begun, imports=imported - started, judging=judged - previewed,
                      resources=len(plan.resources), policies=len(ALL))))
"""


def run(stack: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        code = CODE.format(root=str(ROOT), folder=folder, stack=stack)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stack", default="prod")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    runs = [run(asked.stack) for _ in range(asked.runs)]
    middle = {key: statistics.median(found[key] for found in runs) for key in runs[0]}
    added = middle["imports"] + middle["judging"]
    if asked.json:
        print(json.dumps({**middle, "added_s": added, "share": added / middle["preview"]}))
    else:
        named = f"preview of {asked.stack}"
        print(f"{named:32} {middle['preview']:7.2f} s   ({middle['resources']:.0f} resources)")
        print(f"{'import of the pack':32} {middle['imports']:7.3f} s   ({middle['policies']:.0f} policies)")
        print(f"{'judging the plan':32} {middle['judging']:7.3f} s")
        print(f"{'added':32} {added:7.3f} s   (budget {BUDGET_S:g} s; {added / middle['preview']:.1%} of the preview)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
