"""What differs between the plans of two revisions: resources, inputs, options, parents and outputs.

`python scripts/compare_plans.py REV_A REV_B [--stack local --stack dev --stack prod] [--expected FILE] [--json]`

A revision is what `git worktree` takes, or the path of a checkout (`.` for the files as they lie here). The program of
each runs under Pulumi's mocks, in a process of its own (`scripts/planned.py`), with the same small package and the same
made-up secrets; what a cloud would answer is a text that names its origin.

FILE lists the differences that are meant: a line is `PATTERN  # REASON`, the pattern (shell style) is held against the
difference as it is printed. Exit code: 0 where nothing, or only what is expected, differs; 1 otherwise; 2 for a wrong
call or a program that fails.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
COLLECTOR = Path(__file__).resolve().parent / "planned.py"
STACKS = ("local", "dev", "prod")
PACKAGE = """
import sys
from pathlib import Path
from tests.support.packages import small_package
small_package(Path(sys.argv[1]))
"""
WIDTH = 160
"""Characters of a value that are printed; `--json` has all of it."""

Registered = list[dict[str, Any]]


@dataclass(frozen=True)
class Difference:
    """``what``: renamed, only in A, only in B, or changed. ``resource``: type and name. ``path``: within it."""

    stack: str
    what: str
    resource: str
    path: str = ""
    old: Any = None
    new: Any = None

    def __str__(self) -> str:
        return " ".join(filter(None, (f"{self.stack}:", self.what, self.resource, self.path)))


@dataclass(frozen=True)
class Expected:
    """A line of the file of expected differences."""

    pattern: str
    reason: str

    def covers(self, difference: Difference) -> bool:
        return fnmatchcase(str(difference), self.pattern)


def differences(stack: str, a: Registered, b: Registered) -> list[Difference]:
    """Everything in which two plans differ. A renamed component is one difference, wherever it is a parent."""
    renames = _renames(a, b)
    before = {_key(record): record for record in (_renamed(record, renames) for record in a)}
    after = {_key(record): record for record in b}
    return [
        *(Difference(stack, "renamed", f"{old} -> {new}", old=old, new=new) for old, new in sorted(renames.items())),
        *(Difference(stack, "only in A", key) for key in before if key not in after),
        *(Difference(stack, "only in B", key) for key in after if key not in before),
        *(found for key in before if key in after for found in _changes(stack, key, before[key], after[key])),
    ]


def _key(record: Mapping[str, Any]) -> str:
    return f"{record['type']} {record['name']}"


def _renames(a: Registered, b: Registered) -> dict[str, str]:
    """Old -> new type and name of each component of another type whose name is the same but for its hyphens."""
    old, new = ({_key(r): r["name"].replace("_", "-") for r in plan if not r["custom"]} for plan in (a, b))
    come = {name: key for key, name in new.items() if key not in old}
    return {key: come[name] for key, name in old.items() if key not in new and name in come}


def _renamed(value: Any, renames: Mapping[str, str]) -> Any:
    """A record of A in the words of B: URNs name the components, too."""
    if isinstance(value, dict):
        inside = {key: _renamed(inner, renames) for key, inner in value.items()}
        if "type" in value and "name" in value and (new := renames.get(f"{value['type']} {value['name']}")):
            inside["type"], inside["name"] = new.split(" ", 1)
        return inside
    if isinstance(value, list):
        return [_renamed(inner, renames) for inner in value]
    return renames.get(value, value) if isinstance(value, str) else value


def _changes(stack: str, key: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Difference]:
    for part in ("parent", "inputs", "options"):
        for path, old, new in _unequal(_sorted(a[part]), _sorted(b[part]), part):
            yield Difference(stack, "changed", key, path, old, new)


def _sorted(value: Any) -> Any:
    """Dependencies are a set: after a rename they are in another order."""
    if isinstance(value, dict) and isinstance(value.get("dependencies"), list):
        return {**value, "dependencies": sorted(value["dependencies"])}
    return value


def _unequal(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """The innermost places in which two values differ. JSON inside a text is looked into."""
    if old == new:
        return
    old, new = _opened(old, new)
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            yield from _unequal(old.get(name), new.get(name), f"{path}.{name}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for at, (left, right) in enumerate(zip(old, new, strict=True)):
            yield from _unequal(left, right, f"{path}[{at}]")
    else:
        yield path, old, new


def _opened(old: Any, new: Any) -> tuple[Any, Any]:
    """Both sides of two JSON texts as values; where only the writing of the JSON differs, both texts as they are."""
    if not (isinstance(old, str) and isinstance(new, str) and old[:1] in "{[" and new[:1] in "{["):
        return old, new
    try:
        left, right = json.loads(old), json.loads(new)
    except ValueError:
        return old, new
    return (old, new) if left == right else (left, right)


def read_expected(text: str) -> list[Expected]:
    """Raises ``ValueError`` for a line without a reason."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        pattern, _, reason = line.partition("  # ")
        if not reason.strip():
            raise ValueError(f"line {number}: {line!r} has no reason; write `PATTERN  # REASON`")
        found.append(Expected(pattern.strip(), reason.strip()))
    return found


@contextmanager
def checkout(revision: str) -> Iterator[Path]:
    """The files of a revision: a path as it is, anything else as a worktree that goes again."""
    if Path(revision).is_dir():
        yield Path(revision).resolve()
        return
    with tempfile.TemporaryDirectory(prefix="spillway-plan-") as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), revision], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def plan(root: Path, stack: str, package: Path) -> Registered:
    """What the checkout's program registers. Raises ``RuntimeError`` with what it says where it fails."""
    return json.loads(_python(root, str(COLLECTOR), str(root), stack, str(package)).splitlines()[-1])


def _python(root: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=root, env=environment, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{root}: {' '.join(arguments[:3])} failed:\n{done.stderr[-3000:]}")
    return done.stdout


def compare(revisions: Sequence[str], stacks: Sequence[str]) -> tuple[list[Difference], dict[str, list[int]]]:
    """The differences, and the number of resources of each stack in A and B."""
    with ExitStack() as held:
        package = Path(held.enter_context(tempfile.TemporaryDirectory())) / "package"
        _python(ROOT, "-c", PACKAGE, str(package))
        a, b = (held.enter_context(checkout(revision)) for revision in revisions)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            wanted = [(root, stack) for stack in stacks for root in (a, b)]
            plans = dict(zip(wanted, pool.map(lambda one: plan(one[0], one[1], package), wanted), strict=True))
    found = [d for stack in stacks for d in differences(stack, plans[a, stack], plans[b, stack])]
    return found, {stack: [_size(plans[root, stack]) for root in (a, b)] for stack in stacks}


def _size(plan: Registered) -> int:
    """Resources; calls of functions and the stack itself are no resources."""
    return sum(not record["type"].startswith(("function ", "pulumi:pulumi:")) for record in plan)


def report(found: Sequence[Difference], expected: Sequence[Expected]) -> Iterator[str]:
    """The differences as lines: first those that nobody expects."""
    unexpected = [d for d in found if not any(e.covers(d) for e in expected)]
    yield f"{len(unexpected)} unexpected differences" if expected else f"{len(unexpected)} differences"
    for difference in unexpected:
        yield f"  {difference}"
        if difference.what == "changed":
            yield f"      A: {_shown(difference.old)}"
            yield f"      B: {_shown(difference.new)}"
    for line in expected:
        covered = sum(line.covers(difference) for difference in found)
        yield f"expected, {covered} times: {line.pattern}  # {line.reason}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}..."


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revisions", nargs=2, metavar="REV")
    parser.add_argument(
        "--stack", action="append", help="an example stack; may be given again (default: local, dev, prod)"
    )
    parser.add_argument("--expected", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    try:
        expected = read_expected(asked.expected.read_text(encoding="utf-8")) if asked.expected else []
        found, sizes = compare(asked.revisions, asked.stack or STACKS)
    except (OSError, ValueError, RuntimeError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 2
    unexpected = [d for d in found if not any(e.covers(d) for e in expected)]
    if asked.json:
        print(
            json.dumps(
                {"resources": sizes, "differences": [{**asdict(d), "expected": d not in unexpected} for d in found]}
            )
        )
    else:
        for stack, (old, new) in sizes.items():
            print(f"{stack:8} {old:4} resources in A, {new:4} in B")
        print("\n".join(report(found, expected)))
    return 1 if unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
