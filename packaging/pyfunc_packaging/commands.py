"""How every command behaves: its help, its errors in one line, its exit status."""

from __future__ import annotations

import difflib
import errno
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from pyfunc_packaging.errors import PyFuncError, escape
from pyfunc_packaging.table_formats import FORMATS
from pyfunc_packaging.terminal import abandon_output, prepare_streams, wants_colour

#: What ends a command, unless the command itself says more.
DONE, REFUSED, WRONG_USAGE, OUR_FAULT, INTERRUPTED, UNREAD = 0, 1, 2, 70, 130, 141
EXIT_STATUS: Mapping[int, str] = {
    DONE: "done",
    REFUSED: "refused; one line on stderr says why and what to do",
    WRONG_USAGE: "wrong usage",
}

#: How a shell asks what could come next; see ``pyfunc completion``.
COMPLETION_VARIABLE = "_PYFUNC_COMPLETE"

#: The format of a table, for options.
FORMAT = click.Choice(list(FORMATS))

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
#: What keeps an output from being written, and is said of no file by name.
_OUTPUT_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


class _Formatter(click.HelpFormatter):
    """Headings stand out, where there are colours at all."""

    def write_heading(self, heading: str) -> None:
        super().write_heading(click.style(heading, bold=True))


class _Context(click.Context):
    formatter_class = _Formatter


class _Behaviour(click.Command):
    """Mixed into commands and groups.

    Parameters
    ----------
    examples : sequence of (str, str)
        What for, and the command line.
    exits : mapping of int to str
        Exit statuses beyond, or other than, those that every command has.
    """

    context_class = _Context

    def __init__(
        self,
        *args: Any,
        examples: Sequence[tuple[str, str]] = (),
        exits: Mapping[int, str] | None = None,
        **options: Any,
    ) -> None:
        settings = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
        options["context_settings"] = {**settings, **(options.get("context_settings") or {})}
        super().__init__(*args, **options)
        self.examples = tuple(examples)
        self.exits = {**EXIT_STATUS, **(exits or {})}

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit statuses and the examples, which are never wrapped."""
        with formatter.section("Exit status"):
            formatter.write_dl([(str(status), text) for status, text in sorted(self.exits.items())])
        if self.examples:
            with formatter.section("Examples"):
                for position, (purpose, line) in enumerate(self.examples):
                    if position:
                        formatter.write_paragraph()
                    formatter.write_text(f"# {purpose}")
                    for part in line.splitlines():
                        formatter.write(f"{'':>{formatter.current_indent}}{part}\n")
        super().format_epilog(ctx, formatter)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command and end the process; see the exit statuses in its help."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        name = prog_name or self.name or "pyfunc"
        prepare_streams()
        arguments = list(sys.argv[1:] if args is None else args)
        sys.exit(_run(lambda: self._work(name, arguments, extra)))

    def _work(self, name: str, args: list[str], extra: dict[str, Any]) -> None:
        asked = os.environ.get(COMPLETION_VARIABLE)
        if asked:
            from click.shell_completion import shell_complete

            raise click.exceptions.Exit(
                shell_complete(self, extra, name, COMPLETION_VARIABLE, asked)
            )
        extra.setdefault("color", wants_colour())
        with self.make_context(name, args, **extra) as ctx:
            self.invoke(ctx)


class Command(_Behaviour):
    """One command; see :class:`_Behaviour` for what it takes beyond click's own."""


class Group(_Behaviour, click.Group):
    """Commands in the order of a model's life, and the nearest name for a mistyped one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which they were added."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Without a command there is nothing to do but to show which there are."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True, color=ctx.color)
            ctx.exit(WRONG_USAGE)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name."""
        if args[0] not in self.commands and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self.commands, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise click.UsageError(f"no such command {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)


def _run(work: Callable[[], None]) -> int:
    """Do the work; whatever goes wrong is one line on stderr and an exit status."""
    try:
        try:
            work()
            status = DONE
        except click.exceptions.Exit as ended:
            status = ended.exit_code
        except SystemExit as ended:
            if isinstance(ended.code, str):  # as sys.exit() has it, a message
                return _say(ended.code, REFUSED)
            status = ended.code or DONE
        sys.stdout.flush()
        return status
    except (KeyboardInterrupt, click.Abort):
        if sys.stderr is not None and sys.stderr.isatty():
            click.echo(err=True)  # the terminal's ^C has no line of its own
        abandon_output()
        return INTERRUPTED
    except BrokenPipeError:
        abandon_output()
        return UNREAD
    except click.UsageError as error:
        return _say(_usage(error), error.exit_code)
    except click.ClickException as error:
        return _say(error.format_message(), error.exit_code)
    except PyFuncError as error:
        return _say(str(error), REFUSED)
    except OSError as error:
        if error.filename is not None:
            return _say(f"{error.filename}: {error.strerror}", REFUSED)
        if error.errno in _OUTPUT_ERRORS:
            abandon_output()
            return _say(f"the output cannot be written ({error.strerror})", REFUSED)
        return _say_our_fault(error)
    except Exception as error:  # noqa: BLE001 - nothing is hidden: all of it is shown
        return _say_our_fault(error)


def _say(message: str, status: int) -> int:
    """One line on stderr, whatever the message holds."""
    line = escape(" ".join(message.split()))
    click.echo(
        f"{click.style('Error:', fg='red', bold=True)} {line}", err=True, color=wants_colour()
    )
    return status


def _say_our_fault(error: Exception) -> int:
    click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    return _say(
        f"a fault of pyfunc's own, not yours ({type(error).__name__}); please report it with the"
        f" lines above, the command and `pyfunc --version`",
        OUR_FAULT,
    )


def _usage(error: click.UsageError) -> str:
    """What is wrong with the command line, and which help says more."""
    message = error.format_message().rstrip(".")
    if isinstance(error, click.NoSuchOption):
        near = difflib.get_close_matches(error.option_name, _options(error.ctx), n=1)
        message = f"no such option {error.option_name!r}" + (
            f" (did you mean {near[0]!r}?)" if near else ""
        )
    if message[1:2].islower():
        message = message[0].lower() + message[1:]
    if error.ctx is None or ";" in message:  # it says itself what to do
        return message
    return f"{message}; see `{error.ctx.command_path} --help`"


def _options(ctx: click.Context | None) -> list[str]:
    if ctx is None:
        return []
    return [name for each in ctx.command.get_params(ctx) for name in each.opts]


class BundleDirectory(click.Path):
    """A directory on this machine; what is none is told apart from a bundle that is damaged."""

    name = "directory"

    def __init__(self) -> None:
        super().__init__(file_okay=False, readable=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, unless it is a URI or a file."""
        text = str(value)
        if _URI.match(text) and not Path(text).exists():
            raise click.UsageError(
                f"BUNDLE should be a local directory, found {text!r}; copy the files here first"
                f" (`pyfunc resolve {text}` says where they are)",
                ctx,
            )
        if Path(text).is_file():
            raise click.UsageError(
                f"BUNDLE should be a directory that package_model() wrote, found the file {text!r}",
                ctx,
            )
        return super().convert(value, param, ctx)
