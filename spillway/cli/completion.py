"""``completion``: what makes a shell complete commands, options, stacks and files."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_SET_UP = {
    "bash": 'eval "$(spillway completion bash)" in ~/.bashrc',
    "zsh": 'eval "$(spillway completion zsh)" in ~/.zshrc',
    "fish": "spillway completion fish > ~/.config/fish/completions/spillway.fish",
}


@click.command(epilog="; ".join(f"{shell}: {how}" for shell, how in _SET_UP.items()))
@click.argument("shell", type=click.Choice(list(_SET_UP)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete `spillway`."""
    made = get_completion_class(shell)
    assert made is not None, shell
    program = context.find_root().command
    # Bash's version is looked at where the script is made, which need not be where it is used.
    source = made(program, {}, "spillway", "_SPILLWAY_COMPLETE")
    click.echo(source.source_template % source.source_vars())
