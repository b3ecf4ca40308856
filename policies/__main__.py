"""Entry of the policy pack: the Pulumi CLI runs this folder, and tells it the stack's flat config.

Like the command line, it puts the pack and the stack file together; no other module of the pack knows stacks.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from policies.pack import serve
from policies.resources import Context
from spillway.contracts.frozen import Settings
from stacks.errors import StackConfigError
from stacks.stack_file import read_policies

_ROOT = Path(__file__).resolve().parents[1]


def _read(config: Mapping[str, str]) -> tuple[Settings, Context]:
    try:
        return read_policies(config, _ROOT)
    except StackConfigError as error:
        raise ValueError(f"the policies cannot be configured:\n{error}") from None


try:
    serve(json.loads(os.environ.get("PULUMI_CONFIG") or "{}"), _read)
except ValueError as error:
    sys.exit(str(error))
