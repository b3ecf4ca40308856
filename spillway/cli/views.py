"""Results as people and as programs read them."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Never

from spillway.contracts.classes import CLIENT_KEY_HEADER, OPERATOR_KEY_HEADER, SITE_HEADER
from spillway.contracts.server_routes import CHAT_PATH
from spillway.drill.chat import ChatWorkload
from spillway.drill.workload import infer_body

if TYPE_CHECKING:
    from rich.console import RenderableType

    from model_packaging.build import PackageResult
    from spillway.cli.stack import Stack
    from spillway.contracts.trt_engines import EngineRecord
    from spillway.twin.deploy import Down, Up
    from spillway.twin.deployer.api import PreviewResult, Step
    from spillway.twin.status import TwinStatus

_COLOURS: Final = {"create": "green", "update": "yellow", "replace": "magenta", "delete": "red"}
_SENTENCE: Final = "The private cluster is full and the next request spills."


def plain(value: Any) -> Any:
    """Outputs and properties as JSON. A secret reads ``[secret]``."""
    from spillway.twin.provider import UNKNOWN, Secret

    if isinstance(value, Secret):
        return "[secret]"
    if value is UNKNOWN:
        return "[unknown]"
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


# --- preview and up -------------------------------------------------------------------------------------------------


def preview_json(result: PreviewResult, stack: str, deployer: str, diff: bool) -> dict[str, Any]:
    return {
        "stack": stack,
        "deployer": deployer,
        "changed": result.changed,
        "changes": result.changes,
        "steps": [_step_json(step, diff) for step in result.steps],
        "resources": [{"urn": r.urn, "type": r.type, "name": r.name} for r in result.resources],
        "outputs": plain(result.outputs),
        "seconds": round(result.seconds, 2),
    }


def preview_text(result: PreviewResult, diff: bool) -> Iterator[RenderableType]:
    if steps := [step for step in result.steps if step.op != "same"]:
        yield _steps_table(steps, diff)
    yield f"{len(result.resources)} resources; {_counts(result.changes)}; {result.seconds:.1f} s"


def cost_line(cost: Mapping[str, float]) -> str:
    """``cost``: as of :meth:`Stack.cost`."""
    sites = ", ".join(f"{name} {usd:.2f}" for name, usd in cost.items() if name not in ("total", "at_peak"))
    return f"GPU machines at list price: {cost['total']:.2f} $/h at rest ({sites}), {cost['at_peak']:.2f} $/h at peak"


def up_json(done: Up, stack: Stack) -> dict[str, Any]:
    shown = preview_json(done.result, stack.name, done.deployer, diff=False)
    twin = status_json(done.status, stack.name)
    return {
        **twin,
        **shown,
        "ok": not done.problems,
        "problems": list(done.problems),
        "refreshed": done.refreshed,
        "operator_key_file": _text(_operator_key_file(stack)),
        "curl": curl_lines(done.status, stack),
        "seconds": round(done.seconds, 2),
    }


def up_text(done: Up, stack: Stack) -> Iterator[RenderableType]:
    if done.refreshed:
        yield "The emulated clouds were started anew: the live state was read first."
    yield f"{len(done.result.resources)} resources; {_counts(done.result.changes)}"
    if done.status is None:
        yield (
            "Resources only, as asked."
            if stack.brief().has_processes
            else (
                f"Resources only: {stack.name!r} makes its own cluster. --serve runs one model server a site, and the "
                "gateways, so that it can be drilled."
            )
        )
    else:
        yield from status_text(done.status, stack)
        asked = ("A request", "The same, to one site alone")
        for said, line in zip(asked, curl_lines(done.status, stack), strict=False):
            yield f"{said}:\n  {line.replace('curl -s ', 'curl -si ', 1)}"
    yield f"{done.seconds:.1f} s in all"


def _step_json(step: Step, diff: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {"urn": step.urn, "type": step.type, "name": step.name, "op": step.op}
    shown |= {"changed": list(step.changed), "replaces": list(step.replaces)}
    if diff:
        shown["diff"] = [{"path": c.path, "kind": c.kind, "old": plain(c.old), "new": plain(c.new)} for c in step.diff]
    return shown


def _steps_table(steps: list[Step], diff: bool) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_lines=False)
    changed = any(step.changed or step.diff for step in steps)
    for column in ("op", "type", "name", *(["properties"] if changed else [])):
        table.add_column(column)
    parts: dict[str, list[Step]] = {}
    for step in steps:
        parts.setdefault(_part(step), []).append(step)
    for part, of_part in parts.items():
        table.add_section()
        table.add_row("", Text(f"{part}: {len(of_part)} resource{'s' * (len(of_part) > 1)}", style="bold"))
        for step in of_part:
            lines = [f"{c.path}: {plain(c.old)!r} → {plain(c.new)!r}" for c in step.diff] if diff else []
            text = "\n".join(lines) if lines else ", ".join(step.changed)
            row = (Text(step.op, style=_COLOURS.get(step.op, "")), Text(step.type), Text(step.name))
            table.add_row(*row, *([Text(text)] if changed else []))
    return table


def _part(step: Step) -> str:
    """What of the site it belongs to, by the outermost of our components that holds it; e.g. ``gateway``."""
    holders = step.urn.split("::")[2].split("$")
    return next((holder.split(":")[1] for holder in holders if holder.startswith("spillway:")), "stack")


def _counts(changes: dict[str, int]) -> str:
    return ", ".join(f"{count} {op}" for op, count in sorted(changes.items())) or "nothing to do"


def curl_lines(status: TwinStatus | None, stack: Stack) -> list[str]:
    """A request to the gateway, with a client's key where it takes none without, and the same to one site, with the
    operator's key."""
    gateway = status.gateways.get("private") if status else None
    if gateway is None:
        return []
    manifest = stack.manifest()
    if manifest.kind == "vllm":
        path, body = CHAT_PATH, ChatWorkload(manifest.entry_model, prompts=[_SENTENCE]).body(0)
    elif manifest.inputs and manifest.inputs[0].dtype == "BYTES":
        path, body = f"/v2/models/{manifest.entry_model}/infer", infer_body(manifest.inputs[0].name, _SENTENCE)
    else:
        return []
    client = _client_header(stack)
    lines = [f"curl -s {gateway}{path} -H 'content-type: application/json'{client} -d {shlex.quote(body.decode())}"]
    key_file = _operator_key_file(stack)
    if key_file:
        key = f'-H "{OPERATOR_KEY_HEADER}: $(cat {shlex.quote(str(key_file))})"'
        lines.append(f"{lines[0]} {key} -H '{SITE_HEADER}: sagemaker'")
    return lines


def _client_header(stack: Stack) -> str:
    """Nothing where anybody may ask. A key that the stack file has sealed is the user's to fill in."""
    gateway = stack.settings.gateway
    if gateway.anonymous is not None or not gateway.clients:
        return ""
    secret = next((client.key_secret for client in gateway.clients if client.key_secret), None)
    if secret is None:
        return ' -H "authorization: Bearer $TOKEN"'
    path = stack.secret_file(secret)
    key = f"$(cat {shlex.quote(str(path))})" if path else f"${secret.upper()}"
    return f' -H "{CLIENT_KEY_HEADER}: {key}"'


def _operator_key_file(stack: Stack) -> Path | None:
    return stack.secret_file(stack.settings.gateway.operator_key_secret)


# --- status and down ------------------------------------------------------------------------------------------------


def status_json(status: TwinStatus | None, stack: str) -> dict[str, Any]:
    if status is None:
        return {"stack": stack, "running": False, "sites": [], "gateways": {}, "dns": "", "processes": []}
    return {"stack": stack, "running": True, **status.to_json()}


def status_text(status: TwinStatus | None, stack: Stack) -> Iterator[RenderableType]:
    if status is None:
        yield f"No twin of {stack.name!r} runs; `spillway up -s {stack.name}` starts one."
        return
    yield table(
        f"Sites of {stack.name}",
        ("site", "ready", "state", "detail"),
        [(s.name, "yes" if s.ready else "no", s.state, s.detail) for s in status.sites],
    )
    addresses = [
        *((f"{role} gateway", url) for role, url in status.gateways.items()),
        *((("DNS", f"dig @{status.dns.replace(':', ' -p ')} {stack.host}"),) if status.dns else ()),
        *((f"emulated {name}", url) for name, url in status.endpoints.items()),
    ]
    yield table("Addresses", ("what", "where"), addresses)
    for problem in status.problems:
        yield f"Problem: {problem}"


def watch(text: Callable[[], Iterable[RenderableType]]) -> Never:
    """Show it anew each second, until Ctrl-C."""
    from rich.console import Group
    from rich.live import Live

    with Live(auto_refresh=False, screen=False) as live:
        while True:
            live.update(Group(*text()), refresh=True)
            time.sleep(1.0)


def processes_text(status: TwinStatus) -> RenderableType:
    rows = [(p.name, str(p.pid), p.state, "yes" if p.ready else "no", str(p.restarts), p.log) for p in status.processes]
    return table("Processes", ("process", "pid", "state", "ready", "restarts", "log"), rows)


def down_json(done: Down, stack: str) -> dict[str, Any]:
    destroyed = None
    if done.destroyed is not None:
        kept = [{"urn": r.urn, "type": r.type, "name": r.name} for r in done.destroyed.resources]
        destroyed = {"changes": done.destroyed.changes, "kept": kept}
    return {
        "stack": stack,
        "stopped": done.stopped,
        "forced": list(done.forced),
        "destroyed": destroyed,
        "purged": done.purged,
    }


def down_text(done: Down, stack: str) -> Iterator[RenderableType]:
    if done.destroyed is not None:
        yield f"Destroyed: {_counts(done.destroyed.changes)}; {len(done.destroyed.resources)} resources are kept."
    yield f"The twin of {stack!r} is down." if done.stopped else f"No twin of {stack!r} was running."
    for name in done.forced:
        yield f"Ended by force: {name}"
    if done.purged:
        yield "What it kept on disk is gone."


# --- package --------------------------------------------------------------------------------------------------------


def package_json(result: PackageResult, current: Path) -> dict[str, Any]:
    manifest = result.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "path": str(result.path.resolve()),
        "current": str(current),
        "served": manifest.served,
        "cached": result.cached,
        "variants": result.table(),
        "seconds": round(result.seconds, 2),
    }


def package_text(result: PackageResult, current: Path) -> Iterator[RenderableType]:
    columns = {
        "rank": "rank",
        "variant": "variant",
        "served in": "served",
        "size MB": "size_mb",
        **result.columns(),
        "note": "note",
    }
    rows = [tuple(_cell(row.get(key)) for key in columns.values()) for row in result.table()]
    yield table(f"{result.manifest.name} {result.manifest.version}", tuple(columns), rows)
    built = "up to date" if result.cached else f"built in {result.seconds:.1f} s"
    yield f"{result.path.resolve()} ({built}); stacks find it as {current}"


def engines_table(records: list[EngineRecord]) -> RenderableType:
    """One row an engine: what it fits, how close it is, how fast."""
    columns = ("precision", "hardware", "MB", "build s", "worst cosine", "p50 ms by batch, from a CUDA graph")
    rows = []
    for record in records:
        replayed = [figure for figure in record.latency if figure.graph]
        times = ", ".join(f"{figure.batch_size}: {figure.p50_ms:.3f}" for figure in replayed)
        cosine = f"{record.parity.min_cosine:.5f}" if record.parity else "not run: built ahead of time"
        size, seconds = f"{record.size_bytes / 1e6:.1f}", f"{record.build_seconds:.0f}"
        rows.append((record.precision, record.key.folder, size, seconds, cosine, times or "–"))
    return table("engines", columns, rows)


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, list):
        return ", ".join(value) or "–"
    return str(value)


def table(title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _text(path: Path | None) -> str | None:
    return str(path) if path else None
