"""``spillway package …``: make packages, and keep them in a registry. ``build`` is what runs without a name."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import click

from spillway.cli.command import command_of, tell
from spillway.cli.errors import FAILED, WRONG_CONFIG, CommandError
from spillway.cli.options import Output

_EXAMPLE: Final = Path(__file__).resolve().parents[2] / "model_packaging/examples/minilm/model.yaml"


class _BuildByDefault(click.Group):
    """``spillway package [MODEL_YAML]`` is ``spillway package build [MODEL_YAML]``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # A shell asks what may come here: the commands, as well as what `build` takes.
        if ctx.resilient_parsing and not args:
            return super().parse_args(ctx, args)
        if not args or (args[0] not in {*self.commands, *ctx.help_option_names} and not _like_a_command(args[0])):
            args = ["build", *args]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            said = f"{error.message} A model is given by its file: spillway package FOLDER/model.yaml."
            raise click.UsageError(said, ctx) from None


def _like_a_command(word: str) -> bool:
    """A misspelt command is reported as one, rather than as a missing model file."""
    return word[:1].isalpha() and word.replace("-", "").isalnum() and not Path(word).exists()


@click.group(cls=_BuildByDefault)
def package() -> None:
    """Turn a torch model into a checked package for each target, and keep packages in a registry.

    `spillway package [MODEL_YAML]` is short for `spillway package build [MODEL_YAML]`.
    """
    # What libraries of models say on their way is nobody's who packages: torchao of its enums, transformers in bars.
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


_command = command_of(package)


@_command
@click.argument("model_yaml", required=False, type=click.Path(path_type=Path))
@click.option("--out", type=Output(folder=True), help="Default: .spillway/packages.")
def build(model_yaml: Path | None, out: Path | None, as_json: bool) -> None:
    """Turn a torch model into a checked package for each target.

    MODEL_YAML says what to package; default is the MiniLM example. <out>/<name>/current leads to the newest package.
    """
    from model_packaging.build import package
    from model_packaging.config import load_config
    from model_packaging.registry.builds import point_at
    from spillway.cli import views
    from spillway.cli.console import Reporter
    from spillway.cli.stack import project_root

    root, reporter = project_root(), Reporter()
    config = load_config(model_yaml or _EXAMPLE)
    with reporter.phase(f"package of {config.name}"):
        result = package(config, out or root / ".spillway" / "packages", reporter.say)
    link = point_at(result.path)
    tell(as_json, views.package_json(result, link), lambda: views.package_text(result, link))


def _registry_option(function: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--registry",
        metavar="ADDRESS",
        envvar="SPILLWAY_REGISTRY",
        help="A folder, s3://bucket/prefix or az://container/prefix. Default: $SPILLWAY_REGISTRY, else "
        ".spillway/registry.",
    )(function)


def _out_option(function: Callable[..., None]) -> Callable[..., None]:
    folder = click.Path(path_type=Path, file_okay=False)
    return click.option("--out", type=folder, help="Where packages stand. Default: .spillway/packages.")(function)


def _engines_option(function: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--engines-for",
        multiple=True,
        metavar="KEY",
        help="Take along the compiled engines of this hardware key, or of `all`. May be given again.",
    )(function)


def _package_argument(function: Callable[..., None]) -> Callable[..., None]:
    folder = click.Path(path_type=Path, exists=True, file_okay=False, resolve_path=True)
    return click.argument("package_dir", metavar="PACKAGE", type=folder)(function)


_STAGE = click.Choice(["candidate", "canary", "production"])


@_command
@click.argument("model_yaml", type=click.Path(path_type=Path))
@click.option("--max-p99-ms", type=click.FloatRange(min=0, min_open=True), help="Default: tuning.max_p99_ms.")
@click.option("--trials", type=click.IntRange(min=1), help="Default: tuning.trials.")
@click.option("--write", type=Output(), help="Write MODEL_YAML with the choice there.")
def tune(model_yaml: Path, max_p99_ms: float | None, trials: int | None, write: Path | None, as_json: bool) -> None:
    """Find the cheapest precision, batch, instances and threads that hold a latency bound, by measuring them here.

    MODEL_YAML's `tuning` block says what is searched. A search that was interrupted goes on. Exit code 1: nothing
    holds the bound.
    """
    from model_packaging.tuning import choice
    from model_packaging.tuning.model import read_model, tune_model
    from spillway.cli import tuning
    from spillway.cli.console import Reporter
    from spillway.cli.stack import project_root

    if write:
        choice.check_target(model_yaml, write)
    config, reporter = read_model(model_yaml, max_p99_ms, trials), Reporter()
    with reporter.phase(f"tuning of {config.name}"):
        result = tune_model(config, project_root() / ".spillway" / "tuning", reporter.say)
    chosen = result.chosen
    written = None
    try:
        if write and chosen:
            written = choice.write_choice(model_yaml, config, chosen, write)
    finally:
        # What a long search found is told even where it cannot be written.
        told = tuning.as_json(config, result, written)
        tell(as_json, told, lambda: tuning.as_text(config, result, written))
    if chosen is None:
        raise click.exceptions.Exit(FAILED)


@_command
@_package_argument
@_registry_option
@click.option("--stage", type=_STAGE, help="Promote it to this stage, too.")
@click.option("--repair", is_flag=True, help="Read what the registry has of it and replace what is damaged.")
def push(package_dir: Path, registry: str | None, stage: str | None, repair: bool, as_json: bool) -> None:
    """Send a package, its signature and its engines to a registry.

    PACKAGE is its folder, as in .spillway/packages/minilm/current. What the registry has is not sent again, and a push
    that was interrupted goes on. A version never changes.
    """
    from spillway.cli.console import Reporter
    from spillway.cli.registry import open_registry

    opened, reporter = open_registry(registry), Reporter()
    with reporter.phase(f"push of {package_dir.parent.name} {package_dir.name}"):
        pushed = opened.push(package_dir, reporter.say, repair=repair)
    manifest = pushed.manifest
    if stage:
        opened.promote(manifest.name, manifest.version, stage)
    told = {
        "name": manifest.name,
        "version": manifest.version,
        "new": pushed.new,
        "sent_files": pushed.sent_files,
        "sent_bytes": pushed.sent_bytes,
        "engines": list(pushed.engines),
        "stage": stage,
    }
    state = "is in the registry now" if pushed.new else "was in the registry"
    sent = f"{pushed.sent_files} files sent, {pushed.sent_bytes / 1e6:.1f} MB"
    tell(as_json, told, lambda: [f"{manifest.name} {manifest.version} {state}; {sent}."])


@_command
@click.argument("reference", metavar="NAME[@VERSION|@STAGE]")
@_registry_option
@_out_option
@_engines_option
@click.option(
    "--key",
    "public_key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Public key, PEM: refuse the package unless the holder of the private half signed it.",
)
@click.option("--keep-current", is_flag=True, help="Leave <out>/<name>/current as it is.")
def pull(
    reference: str,
    registry: str | None,
    out: Path | None,
    engines_for: tuple[str, ...],
    public_key: Path | None,
    keep_current: bool,
    as_json: bool,
) -> None:
    """Fetch a package from a registry and check every file.

    Without a version or stage, the one in production. A pull that was interrupted goes on.
    """
    from model_packaging.registry.builds import point_at
    from spillway.cli.console import Reporter
    from spillway.cli.registry import open_registry, split_reference
    from spillway.cli.stack import project_root

    name, wanted = split_reference(reference)
    reporter = Reporter()
    store = out or project_root() / ".spillway" / "packages"
    with reporter.phase(f"pull of {name}@{wanted}"):
        pulled = open_registry(registry).pull(
            name, wanted, store.absolute(), reporter.say, engines_for=engines_for, public_key=public_key
        )
    if not keep_current:
        point_at(pulled.path)
    told = {
        "name": name,
        "version": pulled.manifest.version,
        "path": str(pulled.path),
        "engines": list(pulled.engines),
        "signed": pulled.signed,
        "signature_checked": public_key is not None,
    }
    tell(as_json, told, lambda: [f"{name} {pulled.manifest.version}: {pulled.path}"])


@command_of(package, "list")
@click.argument("name", required=False)
@_registry_option
@click.option("--history", is_flag=True, help="Show what each stage was, oldest first; needs NAME.")
def list_packages(name: str | None, registry: str | None, history: bool, as_json: bool) -> None:
    """Show what a registry has: versions, stages, engines, signatures."""
    from spillway.cli import registry as shown

    opened = shown.open_registry(registry)
    if history:
        if name is None:
            raise click.UsageError("--history needs the NAME of a package.")
        from model_packaging.registry.stages import STAGES

        stages = opened.stages(name)
        records = [(stage, record) for stage in STAGES for record in stages.history(stage)]
        tell(as_json, shown.history_json(records), lambda: shown.history_text(records))
        return
    found = [stored for each in ([name] if name else opened.names()) for stored in opened.describe(each)]
    tell(as_json, [shown.version_json(stored) for stored in found], lambda: shown.versions_text(found))


@_command
@click.argument("reference", metavar="NAME@VERSION|NAME@STAGE")
@click.argument("stage", type=_STAGE)
@_registry_option
@click.option("--note", default="", help="Why; kept in the history.")
@click.option("--if-now", "expected", metavar="VERSION", help="Only while this version has the stage.")
def promote(reference: str, stage: str, registry: str | None, note: str, expected: str | None, as_json: bool) -> None:
    """Give a version a stage: candidate, canary or production.

    Of two promotions at once, one is refused and says so.
    """
    from spillway.cli.registry import open_registry, split_reference

    if "@" not in reference:
        raise click.UsageError(f"Say which version of {reference}: {reference}@VERSION or {reference}@STAGE.")
    name, wanted = split_reference(reference)
    version = open_registry(registry).promote(name, wanted, stage, note, expected)
    told = {"name": name, "stage": stage, "version": version}
    tell(as_json, told, lambda: [f"{name} {version} is {stage}."])


@_command
@click.argument("name")
@click.argument("stage", type=_STAGE, default="production")
@_registry_option
@click.option("--note", default="", help="Why; kept in the history.")
def rollback(name: str, stage: str, registry: str | None, note: str, as_json: bool) -> None:
    """Give a stage back to the version that had it before; again goes one further back."""
    from spillway.cli.registry import open_registry

    left, version = open_registry(registry).stages(name).rollback(stage, note)
    told = {"name": name, "stage": stage, "version": version, "was": left}
    tell(as_json, told, lambda: [f"{name} {version} is {stage} again, in place of {left}."])


@_command
@_package_argument
@click.option(
    "--key",
    "private_key",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Private key on P-256, P-384 or P-521, PEM. A password is read from $SPILLWAY_SIGNING_PASSWORD.",
)
@click.option("--ask-password", is_flag=True, help="Ask for the key's password.")
def sign(package_dir: Path, private_key: Path, ask_password: bool, as_json: bool) -> None:
    """Sign a package and its engines (OpenSSF model signing); changes no digest."""
    from model_packaging.registry import signing
    from spillway.cli.registry import key_password

    fingerprint = signing.sign(package_dir, private_key, key_password(ask_password))
    told = {"package": str(package_dir), "key_sha256": fingerprint}
    tell(as_json, told, lambda: [f"{package_dir} is signed; sha256 of the public key: {fingerprint}"])


@_command
@_package_argument
@click.option(
    "--key",
    "public_key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Public key, PEM: the package and its engines must be signed by its private half.",
)
def verify(package_dir: Path, public_key: Path | None, as_json: bool) -> None:
    """Check every file of a package and of its engines and, with --key, who signed them."""
    from model_packaging.registry import signing
    from spillway.contracts.manifest import verify_package
    from spillway.contracts.signature import signed_package
    from spillway.contracts.trt_engines import verify_engines

    manifest = verify_package(package_dir)
    engines = verify_engines(package_dir)
    if public_key:
        signing.verify(package_dir, public_key)
    claimed = signed_package(package_dir)
    told = {
        "name": manifest.name,
        "version": manifest.version,
        "files": len(manifest.files),
        "engines": [f"{record.key.folder}/{record.precision}" for record in engines],
        "key_sha256": claimed.key_sha256 if claimed else None,
        "signature_checked": public_key is not None,
    }
    signature = "not signed"
    if claimed:
        signature = f"signed by {claimed.key_sha256}" + ("" if public_key else ", which was not checked (--key)")
    sound = f"{manifest.name} {manifest.version}: {len(manifest.files)} files, {len(engines)} engines, sound"
    tell(as_json, told, lambda: [f"{sound}; {signature}."])


@_command
@_package_argument
@click.argument("layout", type=click.Path(path_type=Path))
@_engines_option
def export_oci(package_dir: Path, layout: Path, engines_for: tuple[str, ...], as_json: bool) -> None:
    """Write a package as an OCI image layout with CNCF ModelPack's media types, into the new folder LAYOUT."""
    from model_packaging.registry import oci

    digest = oci.export(package_dir, layout.absolute(), engines_for)
    tell(as_json, {"layout": str(layout), "digest": digest}, lambda: [f"{layout}: {digest}"])


@_command
@click.argument("layout", type=click.Path(path_type=Path, exists=True, file_okay=False))
@_out_option
@click.option("--reference", default="", help="Which image, where the layout has several.")
def import_oci(layout: Path, out: Path | None, reference: str, as_json: bool) -> None:
    """Take a package out of an OCI image layout and check every file."""
    from model_packaging.registry import oci
    from spillway.cli.stack import project_root

    store = (out or project_root() / ".spillway" / "packages").absolute()
    path = oci.import_layout(layout, store, reference)
    tell(as_json, {"path": str(path), "version": path.name}, lambda: [str(path)])


@_command
@click.argument("package_url", metavar="PACKAGE")
@click.option("--precision", "precisions", multiple=True, help="fp32, fp16, int8 or fp8; may be repeated.")
@click.option("--settings", type=click.Path(path_type=Path), help="YAML file of engine settings.")
@click.option("--samples", type=click.Path(path_type=Path), help=".npz of samples instead of the package's.")
@click.option(
    "--compiler", type=click.Choice(["tensorrt", "tensorrt-rtx"]), default="tensorrt", show_default=True, help="Whose."
)
@click.option(
    "--compute-capability", default="", help="Ahead of time, without a GPU (TensorRT-RTX): 8.0, 8.6, 8.9, 12.0."
)
def compile(
    package_url: str,
    precisions: tuple[str, ...],
    settings: Path | None,
    samples: Path | None,
    compiler: str,
    compute_capability: str,
    as_json: bool,
) -> None:
    """Compile engines for one GPU and keep them beside the package.

    PACKAGE is a package's folder, or its URL (s3://…, abfs://…). The engines fit this machine's GPU and TensorRT only.
    """
    from model_packaging.tensorrt.compile import compile_url, read_settings
    from spillway.cli import views
    from spillway.cli.console import Reporter
    from spillway.contracts.trt_engines import Compiler

    reporter = Reporter()
    asked = read_settings(settings, precisions)
    with reporter.phase(f"{len(asked)} engine{'s' if len(asked) > 1 else ''} of {package_url}"):
        records = compile_url(
            package_url,
            reporter.say,
            settings=asked,
            compiler=Compiler(compiler),
            compute_capability=compute_capability,
            samples=samples,
        )
    tell(as_json, [record.model_dump(mode="json") for record in records], lambda: [views.engines_table(records)])


@_command
@click.argument("package_url", metavar="PACKAGE_URL")
@click.option("--on", type=click.Choice(["kubernetes", "sagemaker"]), required=True, help="Where the job runs.")
@click.option("--image", required=True, help="The serving image with Spillway in it: docs/how-to/compile-engines.md.")
@click.option("--precision", "precisions", multiple=True, help="fp32, fp16, int8 or fp8; may be repeated.")
@click.option("--settings", type=click.Path(path_type=Path), help="YAML file of engine settings; goes into the job.")
@click.option("--role-arn", default="", help="The job's AWS role. SageMaker needs one; Kubernetes takes its token.")
@click.option("--region", default="", help="AWS region of the store.")
@click.option("--instance-type", help="SageMaker: the type that serves, e.g. ml.g5.xlarge.")
@click.option("--node-selector", multiple=True, metavar="LABEL=VALUE", help="Kubernetes: the nodes that serve.")
@click.option("--namespace", help="Kubernetes: where the stack serves, e.g. spillway-prod-serving.")
@click.option("--service-account", help="Kubernetes. Default: default.")
@click.option("--memory", help="Kubernetes: memory of the job. Default: 12Gi.")
@click.option("--max-minutes", type=click.IntRange(1, 12960), default=120, show_default=True, help="Then it is ended.")
@click.option("--disk-gib", type=click.IntRange(1, 16384), default=30, show_default=True, help="Scratch room.")
@click.option("--out", type=Output(), help="Write it there instead of to stdout.")
def compile_job(
    package_url: str,
    on: Literal["kubernetes", "sagemaker"],
    image: str,
    precisions: tuple[str, ...],
    settings: Path | None,
    role_arn: str,
    region: str,
    instance_type: str | None,
    node_selector: tuple[str, ...],
    namespace: str | None,
    service_account: str | None,
    memory: str | None,
    max_minutes: int,
    disk_gib: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Write the job that compiles engines inside the serving image, on the GPU that serves.

    PACKAGE_URL is a package in a store (s3://…); the job puts the engines beside it. On Kubernetes it is a Job for
    `kubectl apply`, on SageMaker the input of `aws sagemaker create-processing-job`. It holds no secret.
    """
    from model_packaging.tensorrt import job as jobs
    from model_packaging.tensorrt.compile import read_settings

    elsewhere = {
        "sagemaker": {"--instance-type": instance_type},
        "kubernetes": {
            "--node-selector": node_selector,
            "--namespace": namespace,
            "--service-account": service_account,
            "--memory": memory,
        },
    }
    _refuse_options_of_others(on, elsewhere)
    try:
        job = jobs.make_job(
            package_url,
            read_settings(settings, precisions),
            image,
            max_minutes=max_minutes,
            disk_gib=disk_gib,
            region=region,
        )
        if on == "sagemaker":
            made = jobs.sagemaker_request(job, instance_type=instance_type or "", role_arn=role_arn)
        else:
            if namespace is None:
                raise click.UsageError("--namespace: name the stack's serving namespace, e.g. spillway-prod-serving")
            made = jobs.kubernetes_job(
                job,
                namespace=namespace,
                service_account=service_account or "default",
                memory=memory or "12Gi",
                node_selector=node_selector,
                role_arn=role_arn,
            )
    except jobs.JobError as error:
        raise click.UsageError(str(error)) from None
    text = jobs.document(on, made)
    if out:
        _write(out, text)
    if as_json or out:
        start = jobs.start_command(on, out)
        told = {"name": job.name, "on": on, "job": made, "out": str(out) if out else None, "start": start}
        tell(as_json, told, lambda: [f"{job.name}: {out}", f"Start it with: {start}"])
    else:
        click.echo(text, nl=False)


def _refuse_options_of_others(on: str, given: Mapping[str, Mapping[str, object]]) -> None:
    """An option that does nothing here was meant for something."""
    for place, options in given.items():
        misplaced = [name for name, value in options.items() if value]
        if place != on and misplaced:
            raise click.UsageError(f"{misplaced[0]} is for --on {place}; leave it out with --on {on}.")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"--out {path}: cannot be written: {error.strerror}.", WRONG_CONFIG) from error
