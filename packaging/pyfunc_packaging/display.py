"""How a notebook shows a bundle: ``Bundle._repr_html_``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from pyfunc_packaging.calling import make_curl, one_row
from pyfunc_packaging.errors import BundleError
from pyfunc_packaging.report.wording import name_figure, number
from pyfunc_packaging.schema import Column, Tensor

if TYPE_CHECKING:
    from pyfunc_packaging.bundle import Bundle

#: Fields of a signature that are shown, and classes of a label.
_MAX_FIELDS = 20
_MAX_CLASSES = 8

#: Only what a notebook's own colours do not say: translucent greys suit dark and light alike.
_STYLE = """
.pyfunc-bundle { border: 1px solid rgba(128,128,128,.4); border-radius: 8px; padding: 12px 16px;
  max-width: 900px; line-height: 1.5; color: inherit; }
.pyfunc-bundle .head { font-size: 1.15em; font-weight: 600; overflow-wrap: anywhere; }
.pyfunc-bundle dl { display: grid; grid-template-columns: max-content minmax(0, 1fr);
  gap: 4px 16px; margin: 10px 0; }
.pyfunc-bundle dt { opacity: .7; font-weight: 400; }
.pyfunc-bundle dd { margin: 0; overflow-wrap: anywhere; }
.pyfunc-bundle .field { display: inline-block; border-radius: 5px; padding: 0 7px;
  margin: 1px 3px 1px 0; background: rgba(128,128,128,.16); }
.pyfunc-bundle .field small { opacity: .75; }
.pyfunc-bundle pre { white-space: pre-wrap; overflow-wrap: anywhere; padding: 8px 10px;
  margin: 6px 0; border-radius: 6px; background: rgba(128,128,128,.12); color: inherit;
  font-size: .85em; }
.pyfunc-bundle summary { cursor: pointer; }
"""


def to_html(bundle: Bundle) -> str:
    """A bundle as HTML: what it takes and returns, how fast and how good it is, how to call it.

    Parameters
    ----------
    bundle : Bundle

    Returns
    -------
    str
        One ``<div>``; every name in it is escaped.
    """
    files = [bundle.path / name for name in bundle.manifest["files"]]
    size = sum(file.stat().st_size for file in files if file.is_file())
    facts = [
        ("takes", _fields(bundle.schema.inputs)),
        ("returns", _fields(bundle.schema.outputs)),
        ("engine", _engine(bundle)),
        *(("quality", _quality(each)) for each in bundle.manifest.get("metrics", [])),
        ("holds", escape(_contents(bundle, size))),
        ("digest", f"<code>{escape(bundle.digest)}</code>"),
        ("at", f"<code>{escape(str(bundle.path))}</code>"),
    ]
    lines = "".join(f"<dt>{title}</dt><dd>{value}</dd>" for title, value in facts)
    return (
        f'<div class="pyfunc-bundle"><style>{_STYLE}</style>'
        f'<div class="head">Bundle {escape(bundle.name)}</div><dl>{lines}</dl>'
        f"{_next(bundle)}</div>"
    )


def _fields(fields: Sequence[Column | Tensor]) -> str:
    shown = [_field(field) for field in fields[:_MAX_FIELDS]]
    more = f" and {len(fields) - _MAX_FIELDS} more" if len(fields) > _MAX_FIELDS else ""
    return "".join(shown) + more


def _field(field: Column | Tensor) -> str:
    if isinstance(field, Column):
        kind = field.type + (", may be missing" if field.nullable else "")
    else:
        kind = field.datatype
        if field.classes is not None:
            kind += f" of {', '.join(map(str, field.classes[:_MAX_CLASSES]))}"
            kind += " …" if len(field.classes) > _MAX_CLASSES else ""
    return f'<span class="field">{escape(field.name)} <small>{escape(kind)}</small></span>'


def _engine(bundle: Bundle) -> str:
    facts = bundle.compilation
    if not facts.get("file"):
        step = f"step {facts['step']}: " if facts.get("step") else ""
        reason = facts.get("reason", "packaged by an older version")
        return f"pyfunc, the pipeline itself; not compiled ({escape(f'{step}{reason}')})"
    seconds = facts["seconds"]["one row"]
    times = seconds["pyfunc"] / seconds["onnx"]
    most = facts["max_relative"]
    equal = f"relative difference at most {most:.0e}" if most else "to the last bit"
    return (
        f"onnx: one row in {seconds['onnx'] * 1e6:,.0f} µs,"
        f" <strong>{times:,.0f} times as fast</strong> as the pipeline; equal to it on"
        f" {facts['rows']:,} rows ({equal})"
    )


def _quality(metrics: Mapping[str, Any]) -> str:
    values = ", ".join(
        f"{escape(name_figure(name))} {number(value)}" for name, value in metrics["figures"].items()
    )
    return (
        f"{values}; {escape(str(metrics['target']))} on the {metrics['rows']:,} rows that"
        f" package_model() was given"
    )


def _contents(bundle: Bundle, size: int) -> str:
    files = bundle.manifest["files"]
    return f"{len(files)} files, {size / 1e6:.2f} MB; {bundle.manifest['reference']['file']}"


def _next(bundle: Bundle) -> str:
    try:
        request = one_row(bundle.golden()["request"])
    except BundleError:  # moved or removed since it was made; what was read of it still shows
        return "<div>Its files are not there any more.</div>"
    path = shlex.quote(str(bundle.path))
    report = "report.html" in bundle.manifest["files"]
    card = "open <code>report.html</code> in it, the model card; " if report else ""
    return (
        f"<details><summary>Serve and call it</summary>"
        f"<pre>pyfunc serve {escape(path)}</pre>"
        f"<pre>{escape(make_curl(bundle.name, request))}</pre>"
        f"</details><div>Next: {card}<code>with bundle.serve() as endpoint:"
        f" endpoint.predict(rows)</code> tries it behind a real server.</div>"
    )
