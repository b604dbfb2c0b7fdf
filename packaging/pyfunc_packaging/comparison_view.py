"""A comparison of two bundles, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pyfunc_packaging.errors import escape
from pyfunc_packaging.report.wording import TITLES, duration, number
from pyfunc_packaging.terminal import make_console, print_table

_Facts = Mapping[str, Any]
#: Pairs of labels that are shown; programs get more.
_MAX_PAIRS = 4


def show(facts: _Facts) -> None:
    """Print what :func:`pyfunc_packaging.comparison.compare_bundles` found."""
    console = make_console()
    _identity(console, facts)
    _signature(console, facts["signature"])
    _quality(console, facts["metrics"])
    engines = (facts["predictions"]["engines"] or {}).values()
    _speed(console, facts["speed"], " and ".join(dict.fromkeys(engines)))
    _predictions(console, facts["predictions"])


def _table(*titles: str, numbers: Sequence[int] = ()) -> Table:
    """A table without lines; `numbers` are the columns of numbers, which end below one another."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for position, title in enumerate(titles):
        table.add_column(title, overflow="fold", justify="right" if position in numbers else "left")
    return table


def _heading(console: Console, title: str, text: str = "", style: str = "") -> None:
    print_table(console)
    print_table(console, Text(f"{title}:", style="bold"), Text(escape(text), style=style))


def _indented(console: Console, table: Table | Text) -> None:
    print_table(console, Padding(table, (0, 0, 0, 2)))


def _identity(console: Console, facts: _Facts) -> None:
    a, b = facts["a"], facts["b"]
    table = _table("", "A", "B")
    table.columns[0].style = "bold"
    for key in ("name", "path", "engine"):
        table.add_row(key, escape(a[key]), escape(b[key]))
    table.add_row("size", *(f"{side['bytes'] / 1e6:.2f} MB" for side in (a, b)))
    table.add_row("digest", *(f"{escape(side['digest'])[:19]}…" for side in (a, b)))
    names = dict.fromkeys([*a["versions"], *b["versions"]])
    for name in names:
        one, other = a["versions"].get(name, "none"), b["versions"].get(name, "none")
        if one != other:
            table.add_row(escape(name), escape(one), escape(other))
    print_table(console, table)
    if facts["identical"]:
        print_table(console, "the same bundle: both digests are equal")


def _signature(console: Console, signature: _Facts) -> None:
    changes = signature["changes"]
    if not changes:
        _heading(console, "signature", "the same")
        return
    count = sum(change["breaking"] for change in changes)
    verb = "breaks" if count == 1 else "break"
    verdict = f"{count} of {len(changes)} changes {verb} callers of A"
    _heading(console, "signature", verdict, "red" if count else "green")
    table = _table("", "", "", "")
    table.show_header = False
    for change in changes:
        breaking = change["breaking"]
        table.add_row(
            Text("breaking" if breaking else "compatible", style="red" if breaking else "green"),
            f"{change['side']} {escape(change['name'])}",
            _change(change),
            escape(change["reason"]),
        )
    _indented(console, table)


def _change(change: _Facts) -> str:
    before, after = change["before"], change["after"]
    if isinstance(before, str) and isinstance(after, str) and change["what"] == "type":
        return f"{before} → {after}"
    return str(change["what"])


def _quality(console: Console, metrics: list[Any]) -> None:
    if not metrics:
        _heading(console, "quality", "no figure that both bundles have")
        return
    counts = {(each["rows"]["a"], each["rows"]["b"]) for each in metrics}
    given = " and ".join(f"{a:,} (A) and {b:,} (B)" if a != b else f"{a:,}" for a, b in counts)
    _heading(console, "quality", f"on the rows that package_model() was given: {given}")
    table = _table("", "", "A", "B", "B − A", "", numbers=(2, 3, 4))
    for each in metrics:
        figure = each["figure"]
        worse, better = each["better"] == "a", each["better"] == "b"
        table.add_row(
            escape(each["target"]),
            TITLES[figure][0] if figure in TITLES else escape(figure),
            number(each["a"]),
            number(each["b"]),
            _signed(each["difference"]),
            Text("worse", style="red") if worse else Text("better" if better else "", "green"),
        )
    _indented(console, table)


def _signed(value: float) -> str:
    return f"+{number(value)}" if value > 0 else number(value)


def _speed(console: Console, speed: _Facts, engine: str) -> None:
    _heading(console, "speed")
    table = _table("", "", "A", "B", "B / A", numbers=(2, 3, 4))
    for each in speed["recorded"]:
        table.add_row("recorded", f"{escape(each['rows'])}, {each['engine']}", *_times(each))
    for each in speed["measured"]:
        rows = "one row" if each["rows"] == 1 else f"{each['rows']:,} rows"
        table.add_row("now", f"{rows}, {engine}", *_times(each))
    if table.row_count:
        _indented(console, table)
    else:
        _indented(console, Text("nobody recorded any, and none could be measured"))


def _times(each: _Facts) -> tuple[str, str, str]:
    a, b = each["a"], each["b"]
    shown = ("–" if side is None else duration(side) for side in (a, b))
    ratio = "" if not a or not b else f"{b / a:.2f}"
    return (*shown, ratio)  # type: ignore[return-value]  # two of them


def _predictions(console: Console, predictions: _Facts) -> None:
    rows, source = predictions["rows"], predictions["source"]
    _heading(console, "predictions", f"{rows:,} rows: {source}" if rows else "")
    if predictions["reason"]:
        reason = f"not compared: {predictions['reason']}"
        _indented(console, Text(escape(reason), style="yellow"))
    if predictions["refused"]:
        words = f"B refuses {predictions['refused']:,} more rows that A takes"
        _indented(console, Text(words, style="red"))
    for output in predictions["outputs"]:
        for line in _output(output):
            _indented(console, Text(escape(line)))


def _output(output: _Facts) -> Iterator[str]:
    name, differing, rows = output["name"], output["differing"], output["rows"]
    if output["kind"] == "shape":
        yield f"{name}: of another shape or kind in every row"
    elif not differing:
        yield f"{name}: the same in every row"
    elif output["kind"] == "label":
        yield f"{name}: {differing:,} of {rows:,} rows have another label"
        for pair in output["changes"][:_MAX_PAIRS]:
            yield f"  {pair['from']!r} → {pair['to']!r}: {pair['rows']:,} rows"
        if len(output["changes"]) > _MAX_PAIRS:
            yield "  and more; --json lists them"
    elif output["largest"] is None:
        yield f"{name}: {differing:,} of {rows:,} rows differ, and hold no numbers to compare"
    else:
        yield (
            f"{name}: {differing:,} of {rows:,} rows differ; by {number(output['mean'])} on"
            f" average, {number(output['largest'])} at most (row {output['row']})"
        )
