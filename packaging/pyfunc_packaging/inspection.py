"""What is in a bundle, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from pyfunc_packaging.bundle import Bundle, compiled
from pyfunc_packaging.compatibility import compare_versions
from pyfunc_packaging.errors import escape
from pyfunc_packaging.schema import Column, Tensor

#: Class labels that are shown to people; programs get them all.
MAX_CLASSES = 12


def describe(bundle: Bundle) -> dict[str, Any]:
    """Plain data about a bundle.

    Parameters
    ----------
    bundle : Bundle

    Returns
    -------
    dict
        ``name``, ``path``, ``digest``, ``engine``, ``compilation``, ``reference``, ``inputs``,
        ``outputs``, ``versions``, ``differences`` (libraries installed here in another version),
        ``code``, ``files`` (sha256 by name) and ``bytes``.
    """
    manifest = bundle.manifest
    return {
        "name": bundle.name,
        "path": str(bundle.path),
        "digest": bundle.digest,
        "format_version": manifest["format_version"],
        "engine": bundle.engine,
        "compilation": bundle.compilation,
        "reference": manifest["reference"],
        "inputs": [_field(field) for field in bundle.schema.inputs],
        "outputs": [_field(field) for field in bundle.schema.outputs],
        "versions": bundle.versions,
        "differences": [asdict(each) for each in compare_versions(manifest)],
        "code": manifest.get("code", []),
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


def _printable(value: Any) -> Any:
    """The same data, with nothing in its texts that a terminal would obey."""
    if isinstance(value, dict):
        return {_printable(key): _printable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(each) for each in value]
    return escape(value) if isinstance(value, str) else value


def show(bundle: Bundle) -> None:
    """Print a bundle for people; plain text when the output is no terminal."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(
            highlight=False, markup=False, width=160
        )  # nobody resizes a pipe or a file
    facts = _printable(describe(bundle))
    reference = facts["reference"]
    head = Table.grid(padding=(0, 2))
    head.add_column(style="bold")
    head.add_column(overflow="fold")
    head.add_row("name", facts["name"])
    head.add_row("path", facts["path"])
    head.add_row("digest", facts["digest"])
    head.add_row("engine", facts["engine"])
    head.add_row("", compiled(facts["compilation"]))
    head.add_row("reference", f"{reference['file']} ({reference.get('serialization')})")
    if reference.get("reason"):
        head.add_row("", f"no skops file, because the model {reference['reason']}")
    if facts["code"]:
        head.add_row("code", ", ".join(facts["code"]))
    head.add_row("size", f"{facts['bytes'] / 1e6:.2f} MB in {len(facts['files'])} files")
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    head.add_row("versions", versions)
    if facts["differences"]:
        head.add_row("here", ", ".join(_installed(each) for each in facts["differences"]))
    console.print(head)
    table = Table(box=None, padding=(0, 2), pad_edge=False)
    for title in ("", "name", "type", "V2", "may be null"):
        table.add_column(title, style="bold" if not title else "")
    for side in ("inputs", "outputs"):
        for position, field in enumerate(facts[side]):
            table.add_row(
                side if position == 0 else "",
                field["name"],
                _type(field),
                f"{field['datatype']} {field['shape']}",
                "" if field.get("required", True) else "yes",
            )
    console.print()
    console.print(table)
