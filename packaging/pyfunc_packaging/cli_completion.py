"""The command ``pyfunc completion``."""

from __future__ import annotations

import click

from pyfunc_packaging.commands import COMPLETION_VARIABLE, Command


@click.command(
    cls=Command,
    short_help="Print what completes pyfunc's commands in a shell.",
    examples=(
        ("bash: add this line to ~/.bashrc", 'eval "$(pyfunc completion bash)"'),
        ("zsh: add this line to ~/.zshrc, behind compinit", 'eval "$(pyfunc completion zsh)"'),
        ("fish", "pyfunc completion fish > ~/.config/fish/completions/pyfunc.fish"),
    ),
)
@click.argument("shell", metavar="SHELL", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script that lets a shell complete commands, options, choices and directories.

    SHELL is bash (4.4 or later), zsh or fish.
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None  # the choices are those that click knows
    click.echo(kind(ctx.find_root().command, {}, "pyfunc", COMPLETION_VARIABLE).source())
