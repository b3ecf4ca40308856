"""The Pulumi program: read the settings, compose the site, export its outputs."""

from __future__ import annotations

import gc

import pulumi

from stacks.program import deploy

# A run is short, and makes next to no rubbish: looking for it takes two fifths of the time.
gc.disable()
for name, value in deploy().items():
    pulumi.export(name, value)
