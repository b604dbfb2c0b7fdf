"""What is in a bundle, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.table import Table

from pyfunc_packaging.bundle import Bundle
from pyfunc_packaging.compatibility import compare_versions
from pyfunc_packaging.errors import escape
from pyfunc_packaging.manifest_facts import read_code, read_quality, read_seconds
from pyfunc_packaging.model_sig import SIGNATURE
from pyfunc_packaging.report.wording import duration, name_figure, number
from pyfunc_packaging.schema import Column, Tensor
from pyfunc_packaging.terminal import make_console, print_table

#: Class labels that are shown to people; programs get them all.
MAX_CLASSES = 12
#: Letters of a name that stay together on a narrow terminal.
_NAME_WIDTH = 12


def describe(bundle: Bundle) -> dict[str, Any]:
    """Plain data about a bundle.

    Parameters
    ----------
    bundle : Bundle

    Returns
    -------
    dict
        ``name``, ``path``, ``digest``, ``signed`` (whether there is a signature; nobody looked
        whose), ``engine``, ``compilation``, ``metrics``, ``reference``, ``inputs``, ``outputs``,
        ``versions``, ``differences`` (libraries installed here in another version), ``code``,
        ``files`` (sha256 by name) and ``bytes``.
    """
    manifest = bundle.manifest
    return {
        "name": bundle.name,
        "path": str(bundle.path),
        "digest": bundle.digest,
        "format_version": manifest["format_version"],
        "signed": (bundle.path / SIGNATURE).is_file(),
        "engine": bundle.engine,
        "compilation": bundle.compilation,
        "metrics": bundle.manifest.get("metrics", []),
        "reference": manifest["reference"],
        "inputs": [_field(field) for field in bundle.schema.inputs],
        "outputs": [_field(field) for field in bundle.schema.outputs],
        "versions": bundle.versions,
        "differences": [asdict(each) for each in compare_versions(manifest)],
        "code": list(read_code(bundle)),
        "files": manifest["files"],
        "bytes": sum((bundle.path / name).stat().st_size for name in manifest["files"]),
    }


def _field(field: Column | Tensor) -> dict[str, Any]:
    result: dict[str, Any] = {
        "name": field.name,
        "datatype": field.datatype,
        "shape": list(field.shape),
    }
    if isinstance(field, Column):
        result |= {"type": field.type, "required": not field.nullable}
        if field.dtype is not None:
            result["dtype"] = field.dtype
    elif field.classes is not None:
        result["classes"] = list(field.classes)
    return result


def _type(facts: dict[str, Any]) -> str:
    if "classes" in facts:
        shown, count = facts["classes"][:MAX_CLASSES], len(facts["classes"])
        more = f" and {count - len(shown)} more" if count > len(shown) else ""
        return f"tensor, of {', '.join(map(repr, shown))}{more}"
    return str(facts.get("type", "tensor"))


def _installed(difference: dict[str, Any]) -> str:
    """What is installed here, and whether the pyfunc engine would refuse to load with it."""
    verdict = " (too far apart for the pyfunc engine)" if difference["matters"] else ""
    return f"{difference['name']} {difference['installed']}{verdict}"


def show(bundle: Bundle) -> None:
    """Print a bundle for people, within 80 columns where a terminal has no more."""
    facts = describe(bundle)
    console = make_console()
    head = Table.grid(padding=(0, 2))
    head.add_column(style="bold", no_wrap=True)
    head.add_column(overflow="fold")
    for title, text in _lines(bundle, facts):
        head.add_row(title, escape(text))
    print_table(console, head)
    print_table(console)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    names = [field["name"] for field in (*facts["inputs"], *facts["outputs"])]
    table.add_column("", style="bold", no_wrap=True)
    # others give way first where there is little room
    table.add_column("name", overflow="fold", min_width=min(_NAME_WIDTH, max(map(len, names))))
    for title in ("type", "V2", ""):
        table.add_column(title, overflow="fold")
    for title, side in (("takes", "inputs"), ("returns", "outputs")):
        for position, field in enumerate(facts[side]):
            table.add_row(
                title if position == 0 else "",
                escape(field["name"]),
                escape(_type(field)),
                f"{field['datatype']} {field['shape']}",
                "may be missing" if side == "inputs" and not field.get("required", True) else "",
            )
    print_table(console, table)


def _lines(bundle: Bundle, facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What stands above the tables: titles of at most 7 letters, so that a digest fits."""
    reference = facts["reference"]
    yield "name", facts["name"]
    yield "path", facts["path"]
    yield "digest", facts["digest"]
    yield "size", f"{facts['bytes'] / 1e6:.2f} MB in {len(facts['files'])} files"
    yield "signing", "signed; `pyfunc verify` says by whom" if facts["signed"] else "not signed"
    yield from _engine(bundle, facts)
    for each in read_quality(bundle):
        figures = ", ".join(
            f"{name_figure(name)} {number(value)}" for name, value in each.figures.items()
        )
        yield "quality", f"{each.target}: {figures}; on the {each.rows:,} rows given"
    yield "model", f"{reference['file']} ({reference.get('serialization')})"
    if reference.get("reason"):
        yield "", f"no skops file, because the model {reference['reason']}"
    if facts["code"]:
        yield "code", ", ".join(facts["code"])
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    yield "made on", versions
    if facts["differences"]:
        yield "here", ", ".join(_installed(each) for each in facts["differences"])


def _engine(bundle: Bundle, facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The engine, how it was proven equal to the pipeline, and how much faster it is."""
    compilation = facts["compilation"]
    if not compilation.get("file"):
        step = f"step {compilation['step']}: " if compilation.get("step") else ""
        reason = compilation.get("reason", "packaged by an older version")
        yield "engine", f"{facts['engine']}, the pipeline itself"
        yield "", f"not compiled ({step}{reason})"
        return
    yield "engine", f"{facts['engine']}, the compiled pipeline"
    most, rows = compilation.get("max_relative"), compilation.get("rows")
    if isinstance(most, int | float) and isinstance(rows, int):
        equal = f"relative difference at most {most:.0e}" if most else "to the last bit"
        yield "parity", f"equal to the pipeline on {rows:,} rows, {equal}"
    seconds = read_seconds(bundle).get("one row", {})
    if {"onnx", "pyfunc"} <= seconds.keys() and seconds["onnx"] > 0:
        yield (
            "speed",
            f"one row in {duration(seconds['onnx'])}, {seconds['pyfunc'] / seconds['onnx']:,.0f}"
            f" times as fast as the pipeline ({duration(seconds['pyfunc'])})",
        )
