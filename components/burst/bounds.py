"""What holds between the instance counts of every burst site."""

from __future__ import annotations


def check_bounds(site: str, minimum: int, maximum: int, first: int | None) -> None:
    """Raises ``ValueError`` where the counts contradict each other. ``first``: of the first deployment."""
    if minimum > maximum:
        raise ValueError(
            f"{site}: min_instances {minimum} is above max_instances {maximum}; lower one, raise the other"
        )
    if first is not None and not minimum <= first <= maximum:
        raise ValueError(
            f"initial_instances {first} is outside min_instances {minimum} to max_instances "
            f"{maximum}; choose one inside, or leave it out"
        )
