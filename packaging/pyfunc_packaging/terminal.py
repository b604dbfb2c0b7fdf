"""What the command line writes, and to what: colours, JSON, spinners, streams that are closed."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pyfunc_packaging.errors import escape

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

#: Columns of a table that nobody watches: no terminal cuts a pipe or a file.
_WIDE = 160
#: Seconds that anything may take without a word.
_PATIENCE = 0.4


def wants_colour() -> bool | None:
    """What the environment says about colours; None where the terminal decides.

    Returns
    -------
    bool or None
        False with ``NO_COLOR`` or on a dumb terminal, else True with ``FORCE_COLOR``.

    Examples
    --------
    >>> os.environ["NO_COLOR"] = "1"
    >>> wants_colour()
    False
    >>> del os.environ["NO_COLOR"]
    """
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return True if os.environ.get("FORCE_COLOR") else None


def make_console(*, stderr: bool = False) -> Console:
    """A rich console that keeps to `wants_colour`, takes no markup and cuts no piped line."""
    from rich.console import Console

    class Frank(Console):
        """Says that nobody reads any more, where rich would exit with status 1 itself."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    colour = wants_colour()
    console = Frank(
        stderr=stderr,
        highlight=False,
        markup=False,
        emoji=False,
        force_terminal=True if colour else None,
        color_system=None if colour is False else "auto",
    )
    stream = sys.stderr if stderr else sys.stdout
    if not stream.isatty() and "COLUMNS" not in os.environ:
        console.width = _WIDE
    return console


def print_json(facts: Any) -> None:
    """Print one JSON document; what is no number in JSON is null.

    Examples
    --------
    >>> print_json({"mean": math.nan})
    {
      "mean": null
    }
    """
    # another encoding than UTF-8 would lose letters; JSON has its own way to write them
    plain = "utf" not in (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
    text = json.dumps(_without_nan(facts), indent=2, ensure_ascii=plain, allow_nan=False)
    if not text.isprintable():  # within the texts of JSON only line ends may be something else
        text = "".join(_in_json(each) for each in text)
    sys.stdout.write(text + "\n")


def _in_json(character: str) -> str:
    return (
        character if character.isprintable() or character == "\n" else json.dumps(character)[1:-1]
    )


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def print_table(console: Console, *things: Any) -> None:
    """Print tables without the spaces that rich fills their lines with."""
    with console.capture() as captured:
        console.print(*things)
    text = "\n".join(line.rstrip() for line in captured.get().splitlines())
    sys.stdout.write(text + "\n")


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show on stderr what is waited for, and how long already; only where a person watches.

    What is quick is not shown at all.
    """
    if sys.stderr is None or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield
        return
    shown: list[Progress] = []

    def show() -> None:
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        text = TextColumn("{task.description}", markup=False)
        console = make_console(stderr=True)
        columns = (SpinnerColumn(), text, TimeElapsedColumn())
        shown.append(Progress(*columns, console=console, transient=True, redirect_stdout=False))
        shown[0].add_task(escape(what), total=None)
        shown[0].start()

    timer = threading.Timer(_PATIENCE, show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        for each in shown:
            each.stop()


class _Closed(io.TextIOBase):
    """Stands for a standard output that is closed: who writes to it should hear of it."""

    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


def prepare_streams() -> None:
    """Let every character be written, whatever the encoding, and no output vanish unnoticed."""
    if sys.stdout is None:
        sys.stdout = _Closed()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def abandon_output() -> None:
    """Give up a standard output that nobody reads, or that is full.

    Python writes what is left when it ends, and would complain once more.
    """
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):
        return  # no file: a test's, or a closed one
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)
