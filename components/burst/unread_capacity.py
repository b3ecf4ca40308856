"""A live count that cannot be read: told in a preview, refused in an update (ADR 2)."""

from __future__ import annotations

import pulumi


class LiveCapacityError(pulumi.RunError):
    """The live count cannot be read, and an update must not guess it."""


def taken_for_none(error: Exception, what: str, mend: str) -> None:
    """Go on as if nothing were deployed: a preview needs no credentials.

    ``what``: of which the count is; ``mend``: what to give the deployer. Raises :class:`LiveCapacityError` in an
    update, which would bring back to its recorded count what has grown.
    """
    why = f"the live instance count of {what} cannot be read: {error}"
    if not pulumi.runtime.is_dry_run():
        raise LiveCapacityError(f"{why}. An update must not guess it: {mend}.") from error
    pulumi.log.debug(f"{why}; the preview takes it for not deployed")
