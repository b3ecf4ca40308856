"""The Pulumi program: read the settings, compose the site, export its outputs."""

from __future__ import annotations

import pulumi

from stacks.program import deploy

for name, value in deploy().items():
    pulumi.export(name, value)
