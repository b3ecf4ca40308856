"""Service level objectives of generated text by class: how many streams begin and flow in time, and alerts on how fast
the rest uses up what is allowed.

Multiwindow, multi-burn-rate alerts as in the SRE Workbook, "Alerting on SLOs", section 6 with its table 5-8
(https://sre.google/workbook/alerting-on-slos/): a long window says that it matters, a short one that it goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from components.monitoring.settings import ObjectivesSettings
from spillway.contracts.answer_times import FIRST_TOKEN, TOKEN, le, limit
from spillway.contracts.classes import RequestClass
from spillway.contracts.names import Namespaces
from spillway.contracts.routing import ClassRoute


@dataclass(frozen=True)
class Burn:
    """``rate``: how many times as fast as would use up all that is allowed in just 30 days."""

    long: str
    short: str
    rate: float


FAST: Final = (Burn("1h", "5m", 14.4), Burn("6h", "30m", 6.0))
"""2 % of a month's allowance in an hour, or 5 % in six: somebody has to look now."""
SLOW: Final = (Burn("3d", "6h", 1.0),)
"""10 % in three days: somebody has to look on a working day."""
_RECORDED: Final = {FIRST_TOKEN: "class:spillway_first_token_late:ratio", TOKEN: "class:spillway_token_late:ratio"}
_ALERTS: Final = {
    FIRST_TOKEN: ("SpillwayFirstTokensLate", "first tokens"),
    TOKEN: ("SpillwayTokensSlow", "further tokens"),
}


def recordings(namespaces: Namespaces, classes: Sequence[ClassRoute]) -> Iterator[dict[str, Any]]:
    """Recording rules: the share of a class's streams that is late, over each window."""
    windows = sorted({window for burn in (*FAST, *SLOW) for window in (burn.long, burn.short)})
    for metric, recorded in _RECORDED.items():
        for route in classes:
            own = f'namespace="{namespaces.gateway}",class="{route.request_class}"'
            end = le(limit(metric, route))
            for window in windows:
                all_ = f"sum by (namespace) (rate({metric}_count{{{own}}}[{window}]))"
                in_time = f'sum by (namespace) (rate({metric}_bucket{{{own},le="{end}"}}[{window}]))'
                yield {
                    "record": f"{recorded}_rate{window}",
                    "expr": f"1 - {in_time} / {all_}",
                    "labels": {"class": str(route.request_class)},
                }


def burn_alerts(namespaces: Namespaces, objectives: ObjectivesSettings) -> Iterator[tuple[str, str, str, str]]:
    """Name, question, summary and severity of each alert; the class is a label of what fires."""
    for metric, (name, what) in _ALERTS.items():
        for speed, burns, severity in (("Fast", FAST, "critical"), ("Slow", SLOW, "warning")):
            asked = " or ".join(
                _burning(
                    _RECORDED[metric],
                    burn,
                    f'{{namespace="{namespaces.gateway}",class="{each}"}} > {burn.rate * objectives.allowed(each):.6g}',
                )
                for burn in burns
                for each in RequestClass
            )
            within = " or ".join(burn.long for burn in burns)
            summary = (
                f"{{{{ $labels.class }}}}: {{{{ $value | humanizePercentage }}}} of the {what} were late over {within}"
            )
            yield f"{name}{speed}", asked, summary, severity


def _burning(recorded: str, burn: Burn, above: str) -> str:
    return f"({recorded}_rate{burn.long}{above} and {recorded}_rate{burn.short}{above})"
