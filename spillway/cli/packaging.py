"""``spillway package …``: make packages, and keep them in a registry. ``build`` is what runs without a name."""

from __future__ import annotations

from pathlib import Path

import click

from spillway.cli.command import command_of, tell


class _BuildByDefault(click.Group):
    """``spillway package [MODEL_YAML]`` is ``spillway package build [MODEL_YAML]``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in {*self.commands, *ctx.help_option_names} and not _like_a_command(args[0])):
            args = ["build", *args]
        return super().parse_args(ctx, args)


def _like_a_command(word: str) -> bool:
    """A misspelt command is reported as one, rather than as a missing model file."""
    return word.isidentifier() and not Path(word).exists()


@click.group(cls=_BuildByDefault)
def package() -> None:
    """Turn a torch model into a checked package for each target, and keep packages in a registry.

    `spillway package [MODEL_YAML]` is short for `spillway package build [MODEL_YAML]`.
    """


_command = command_of(package)


@_command
@click.argument("model_yaml", required=False, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Default: .spillway/packages.")
def build(model_yaml: Path | None, out: Path | None, as_json: bool) -> None:
    """Turn a torch model into a checked package for each target.

    MODEL_YAML says what to package; default is the MiniLM example. <out>/<name>/current leads to the newest package.
    """
    from spillway.cli import views
    from spillway.cli.console import Reporter
    from spillway.cli.package import EXAMPLE, make_package
    from spillway.cli.stack import project_root

    root = project_root()
    made = make_package(model_yaml or root / EXAMPLE, out or root / ".spillway" / "packages", Reporter())
    tell(as_json, views.package_json(*made), lambda: views.package_text(*made))
