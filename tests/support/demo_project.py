"""A Pulumi project in a temporary folder, whose program uses the ``demo`` package of the memory cloud."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

from tests.support.salts import shared_salt

PASSPHRASE = "correct horse"
_HEAD = """
import pulumi


class Demo(pulumi.CustomResource):
    def __init__(self, kind, name, props=None, opts=None):
        props = {"arn": None, "name": None, **({"token": None} if kind == "Key" else {}), **(props or {})}
        super().__init__(f"demo:index:{kind}", name, props, opts)

    @property
    def arn(self):
        return pulumi.get(self, "arn")

    @property
    def token(self):
        return pulumi.get(self, "token")


class Group(pulumi.ComponentResource):
    def __init__(self, name, opts=None):
        super().__init__("test:index:Group", name, None, opts)


def thing(name, _opts=None, _kind="Thing", **props):
    return Demo(_kind, name, props, _opts)


Opts = pulumi.ResourceOptions

"""


class DemoProject:
    def __init__(self, root: Path) -> None:
        self.root = root
        self._versions = 0
        (root / "stacks" / "config").mkdir(parents=True, exist_ok=True)
        lines = ["name: demo", "main: stacks/", "stackConfigDir: stacks/config", "runtime:", "  name: python"]
        (root / "Pulumi.yaml").write_text("\n".join(lines) + "\n")
        self.config({})

    def program(self, body: str) -> None:
        path = self.root / "stacks" / "__main__.py"
        path.write_text(_HEAD + textwrap.dedent(body))
        # Python tells the byte code of a changed program by size and whole seconds: here each has seconds of its own.
        self._versions += 1
        os.utime(path, (self._versions, self._versions))

    def config(self, values: dict[str, str], salt: str | None = None, stack: str = "test") -> None:
        lines = [f"encryptionsalt: {salt or shared_salt(PASSPHRASE)}"]
        lines += ["config:", *(f"  {key}: {value}" for key, value in values.items())] if values else ["config: {}"]
        (self.root / "stacks" / "config" / f"Pulumi.{stack}.yaml").write_text("\n".join(lines) + "\n")
