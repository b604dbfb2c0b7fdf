"""Write the help of every command into docs/cli.md.

python docs/cli.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pyfunc_packaging.cli import main

PAGE = Path(__file__).resolve().parent / "cli.md"
HEADING = "## Every command"


def page() -> str:
    """The whole page: what is written by hand, and what each command says of itself."""
    text = PAGE.read_text(encoding="utf-8")
    end = text.index("\n\n", text.index("python docs/cli.py", text.index(HEADING)))
    parts = [text[:end], "\n"]
    parent = _context(main, None, "pyfunc")
    parts.append(_section(parent))
    parts += [_section(_context(each, parent, name)) for name, each in main.commands.items()]
    return "".join(parts)


def _context(command: click.Command, parent: click.Context | None, name: str) -> click.Context:
    settings = command.context_settings
    return command.context_class(command, parent, name, terminal_width=80, **settings)


def _section(ctx: click.Context) -> str:
    text = click.unstyle(ctx.command.get_help(ctx))
    return f"\n### `{ctx.command_path}`\n\n```text\n{text}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.exit(0)
