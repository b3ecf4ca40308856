"""``init``: the smallest stack file that is useful, in this project or in an empty folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from spillway.cli.command import command_of, tell
from spillway.cli.errors import WRONG_CONFIG, CommandError

_VALUES: Final = {
    "owner": "Team that answers for the stack, and pays.",
    "aws-account": "Twelve digits.",
    "aws-region": "Where the AWS part is.",
    "azure-subscription": "Its ID.",
    "azure-tenant": "Its ID.",
    "azure-location": "Where the Azure part is.",
    "zone": "Your DNS zone; the site is `inference` in it.",
    "zone-id": "Route 53's ID of the zone.",
    "registry": "Where your runtime image is: HOST or HOST/PATH.",
    "package": "Folder of a package, from the project's.",
}
_group = click.Group()


def _templates(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    from stacks.beginning import templates

    return [name for name in templates() if name.startswith(begun)]


def _values(function: Callable[..., Any]) -> Callable[..., Any]:
    for name, said in reversed(_VALUES.items()):
        function = click.option(f"--{name}", help=said)(function)
    return function


@command_of(_group)
@click.argument("name")
@click.option(
    "--template",
    default="smallest",
    show_default=True,
    shell_complete=_templates,
    help="smallest or both-clouds beside a cluster that is there; eks: a new cluster, and both clouds.",
)
@click.option("--secrets/--no-secrets", "with_secrets", default=True, help="Set the stack's secrets, too. Default: do.")
@_values
def init(name: str, template: str, with_secrets: bool, as_json: bool, **values: str | None) -> None:
    """Write the stack file of a new stack NAME.

    Where no project encloses the working directory, one is begun there. What you give no value for is made up, good
    enough for `spillway check` and the twin, and named at the end.

    Secrets are sealed into the file under PULUMI_CONFIG_PASSPHRASE, as Pulumi does it. Each comes from
    SPILLWAY_SECRET_NAME (its name in capitals), or is asked for on a terminal; @FILE stands for a file's content. The
    keys of callers are drawn where you give none.
    """
    from spillway.cli import secret_values
    from spillway.cli.stack import check_name, enclosing_project
    from spillway.twin.deployer.project import read_project
    from spillway.version import __version__
    from stacks.beginning import begin, templates
    from stacks.errors import StackConfigError

    if template not in templates():
        raise CommandError(f"--template {template}: there are {', '.join(templates())}", WRONG_CONFIG)
    check_name(name, "NAME")
    root = enclosing_project()
    folder = read_project(root).config_dir if root else Path.cwd()
    given = {key: value for key, value in values.items() if value}
    try:
        made = begin(template, name, given, __version__, None if root else folder.name)
    except StackConfigError as error:
        raise CommandError(error.about(f"Pulumi.{name}.yaml"), WRONG_CONFIG) from None
    files = {folder / path: text for path, text in made.files.items()}
    stack_file = next(path for path in files if path.name == f"Pulumi.{name}.yaml")
    if there := [str(path) for path in files if path.exists()]:
        raise CommandError(f"{', '.join(there)} is there already; choose another name", WRONG_CONFIG)
    found: dict[str, str] = {}
    if passphrase := secret_values.passphrase() if with_secrets else "":
        found = secret_values.values(made.secrets, made.drawn)
        files[stack_file] = secret_values.sealed(files[stack_file], found, passphrase)
    left = [secret for secret in made.secrets if secret not in found]
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    written = [str(path) for path in files]
    made_up = [key.replace("_", "-") for key in made.made_up]
    shown = {"stack": name, "template": template, "written": written, "made_up": made_up, "secrets": left}
    tell(as_json, {**shown, "secrets_set": list(found)}, lambda: _told(name, written, made_up, list(found), left))


def _told(name: str, written: list[str], made_up: list[str], found: list[str], secrets: list[str]) -> list[str]:
    return [
        *(f"Wrote {path}" for path in written),
        *([f"Sealed under your passphrase: {', '.join(found)}"] if found else []),
        *([f"Made up, to be replaced before you deploy: {', '.join(made_up)}"] if made_up else []),
        "",
        "Next, without an account:",
        "  spillway package                 # the example model; your own: docs/how-to/your-own-model.md",
        f"  spillway check -s {name}",
        f"  spillway up -s {name}",
        "Then, with your accounts:",
        *(f"  pulumi config set --secret spillway-secrets:{secret} -s {name}" for secret in secrets),
        f"  spillway deploy -s {name} --dry-run",
    ]
