"""Entry of the policy pack: the Pulumi CLI runs this folder."""

from __future__ import annotations

from policies.pack import serve

serve()
